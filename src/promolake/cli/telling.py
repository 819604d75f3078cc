"""Telling OpenLineage events to a file or an address: nobody waits or fails for it, and an end that was not told is told by the next start.

What is needed for that is a mark per run in the home, locked by whoever has to tell its end: the kernel gives the lock back however a
process ends.
"""

from __future__ import annotations

import fcntl
import json
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from promolake.alerts.channels.base import post
from promolake.alerts.message import Refused, TryLater
from promolake.cli.lineage import Event, events, now
from promolake.engine.lock import turn
from promolake.whole_file import write_whole

END_SECONDS = 10  # how long the end of a run waits for the last events to be taken
Say = Callable[[str], None]


@contextmanager
def telling(to: str, jobs: Sequence[Event], say: Say, marks: Path) -> Iterator[None]:
    """Says START now, and COMPLETE or FAIL when the block ends, to `to` (a file or an http address; empty: nowhere).

    Before that it says what others could not that left their mark in the directory `marks`: their end, or ABORT of a killed one. The run
    neither waits nor fails for any of it.
    """
    if not to:
        yield
        return
    batches: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
    teller = threading.Thread(target=_tell, args=(to, batches, say), name="lineage", daemon=True)
    teller.start()
    file = marks / f"{jobs[0]['run']['runId']}.json"
    try:
        with _turn(marks):
            for left in filter(None, map(_Mark.taken, marks.glob("*.json"))):
                batches.put(_Batch(left.end, left))
            mark = _Mark.made(file, {"eventType": "ABORT"}, jobs)
    except (OSError, ValueError) as error:
        say(f"lineage: {marks} cannot be used: {error}; were this run killed, nobody would say so")
        mark = None
    batches.put(_Batch(events({"eventType": "START"}, jobs)))
    ending = "FAIL"
    try:
        yield
        ending = "COMPLETE"
    finally:
        said = {"eventType": ending, "eventTime": now()}
        batches.put(_Batch(events(said, jobs), mark and mark.now_says(said, jobs)))
        batches.put(None)
        teller.join(END_SECONDS)


class _Mark:
    """The end of a run that is still to be told, in a file and locked. Without a time it is told with that of the telling."""

    def __init__(self, file: Path, opened: IO[str]) -> None:
        self._file = file
        self._opened = opened

    @classmethod
    def made(cls, file: Path, said: Event, jobs: Sequence[Event]) -> _Mark:
        """In turn with everybody who takes marks."""
        kept = [{"run": {"runId": job["run"]["runId"]}, "job": {key: job["job"][key] for key in ("namespace", "name")}} for job in jobs]
        write_whole(file, json.dumps([said, kept]))
        taken = cls.taken(file)
        assert taken
        return taken

    @classmethod
    def taken(cls, file: Path) -> _Mark | None:
        """None while the process that has to tell it lives. In turn, as the others."""
        opened = file.open()
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            opened.close()
            return None
        return cls(file, opened)

    @property
    def end(self) -> list[Event]:
        self._opened.seek(0)
        return events(*json.load(self._opened))

    def now_says(self, said: Event, jobs: Sequence[Event]) -> _Mark:
        """The run has ended in order: were that not told now, the next start would not call it killed. On a full disk it would."""
        try:
            with _turn(self._file.parent):
                told = _Mark.made(self._file, said, jobs)
        except OSError:
            return self
        self.close()
        return told

    def forget(self) -> None:
        with _turn(self._file.parent):
            self._file.unlink(missing_ok=True)
            self.close()

    def close(self) -> None:
        """Gives it back to the next start."""
        self._opened.close()


def _turn(marks: Path) -> AbstractContextManager[None]:
    return turn(marks / "turn.lock")


class _Batch(NamedTuple):
    events: list[Event]
    mark: _Mark | None = None


def _tell(to: str, batches: queue.SimpleQueue[_Batch | None], say: Say) -> None:
    while (batch := batches.get()) is not None:
        try:
            if to.startswith(("http://", "https://")):
                for event in batch.events:
                    post(to, json=event)
            else:
                Path(to).parent.mkdir(parents=True, exist_ok=True)
                with Path(to).open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps(event, ensure_ascii=False) + "\n" for event in batch.events)
            if batch.mark:
                batch.mark.forget()
        except (Refused, TryLater, OSError) as error:  # the rest of the batch would fare no better, and take as long
            why = error.strerror if isinstance(error, OSError) else error
            first = batch.events[0]
            then = "the next start tells it" if batch.mark else "the run goes on"
            say(f"lineage: the {first['eventType']} of {first['job']['name']} could not be told: {why}; {then}")
            if batch.mark:
                batch.mark.close()
