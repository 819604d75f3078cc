"""How far a run has come that takes all there is and ends: said now and then, as half a million records take minutes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from promolake.core.errors import BrokerAway
from promolake.engine import kafka
from promolake.engine.query_log import QueryLog

SAY_EVERY_SECONDS = 10.0
ASK_MS = 2_000


@contextmanager
def advancing(checkpoint: Path, bootstrap: str, topics: Sequence[str], say: Callable[[str], None]) -> Iterator[None]:
    """While inside, says how many of the topics' records the finished batches of the checkpoint have read, until they have read all that
    was there at first. A run that is over before says nothing, as does one whose broker is away."""
    stop, before = threading.Event(), QueryLog(checkpoint).read_up_to
    thread = threading.Thread(target=_tell, args=(stop, before, checkpoint, bootstrap, topics, say), name="advancing", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def waiting(checkpoint: Path, bootstrap: str, topics: Sequence[str]) -> int | None:
    """How many of the topics' records the finished batches of the checkpoint have yet to read; None when the broker is away."""
    try:
        wanted = _wanted(QueryLog(checkpoint).read_up_to, bootstrap, topics, ASK_MS)
        return sum(end - first for first, end in wanted.values())
    except BrokerAway:
        return None


def _tell(
    stop: threading.Event,
    before: dict[tuple[str, int], int],
    checkpoint: Path,
    bootstrap: str,
    topics: Sequence[str],
    say: Callable[[str], None],
) -> None:
    wanted: dict[tuple[str, int], tuple[int, int]] = {}
    while not stop.wait(SAY_EVERY_SECONDS):
        try:
            wanted = wanted or _wanted(before, bootstrap, topics)
        except BrokerAway:  # the run waits for it, and says so
            continue
        now = QueryLog(checkpoint).read_up_to
        total = sum(end - first for first, end in wanted.values())
        taken = sum(min(max(now.get(place, first) - first, 0), end - first) for place, (first, end) in wanted.items())
        if total:
            say(f"{taken:,} of {total:,} records taken")
        if taken == total:
            return


def _wanted(
    before: dict[tuple[str, int], int], bootstrap: str, topics: Sequence[str], timeout_ms: int = kafka.ANSWER_MS
) -> dict[tuple[str, int], tuple[int, int]]:
    """The offsets to take, from the first until before the other, by topic and partition."""
    firsts, ends = kafka.first_offsets(bootstrap, topics, timeout_ms), kafka.end_offsets(bootstrap, topics, timeout_ms)
    starts = {place: max(first, before.get(place, first)) for place, first in firsts.items()}
    return {place: (min(starts[place], end), end) for place, end in ends.items() if place in starts}
