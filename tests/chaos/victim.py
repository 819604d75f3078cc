"""promolake, but mortal: the real command line in a process that is killed, JVM and all, where its work has come to a named point.

    python victim.py JOURNAL [--die POINT] [--unprotected] -- --home DIR run --once

Points: `before:TABLE` and `after:TABLE` (a commit that is not a repetition), `between:TABLE` (the two commits of an upsert),
`before-commit-log:QUERY` (all tables are written, Spark does not know it yet), `before:FORWARD` and `after:FORWARD`,
`before-settling:TABLE` and `after-settling:TABLE`. Nothing of this is known to promolake itself.

JOURNAL gets a line of JSON for every batch begun and ended, every write and every write found to be committed before, and for the death.
With --unprotected the writer does not look whether a transaction was committed before: the negative control.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from promolake import cli
from promolake.engine import lakehouse
from promolake.engine.forwarding import Forwarder
from promolake.engine.joining import JoinQuery
from promolake.engine.lakehouse import Lakehouse
from promolake.engine.scan import Scan


class Journal:
    """What the process did, written line by line so that nothing is lost with it."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self, what: str, of: str, batch: int) -> None:
        line = {"at": time.time(), "pid": os.getpid(), "what": what, "of": of, "batch": batch}
        os.write(self._file, (json.dumps(line) + "\n").encode())  # one write: threads do not mix their lines


class Victim:
    """Watches promolake's writes from outside and kills the process at its point."""

    def __init__(self, journal: Journal, point: str | None) -> None:
        self._journal = journal
        self._point = point
        self._written: dict[str, int] = {}  # by query: the last batch in which this process wrote something new

    def reached(self, point: str, batch: int) -> None:
        if point == self._point:
            self._journal.note("died", point, batch)
            os.killpg(0, signal.SIGKILL)

    def watch(self, put: Callable[[type, str, Any], None] = setattr) -> None:
        for name in ("append", "upsert"):
            put(Lakehouse, name, self._commit(getattr(Lakehouse, name)))
        put(Lakehouse, "_merge", self._merge(Lakehouse._merge))
        put(Lakehouse, "overwrite", self._settling(Lakehouse.overwrite))
        put(Forwarder, "send", self._forwarding(Forwarder.send))
        for part in (Scan, JoinQuery):
            put(part, "_batch", self._batch(part._batch))

    def _commit(self, commit: Callable[..., bool]) -> Callable[..., bool]:
        def watched(lake: Lakehouse, table: Any, rows: Any, txn: Any) -> bool:
            is_new = rows.num_rows > 0 and lake.transaction(table, txn.app) < txn.version
            if is_new:
                self.reached(f"before:{table.name}", txn.version)
            written = commit(lake, table, rows, txn)
            if rows.num_rows:
                self._journal.note("wrote" if written else "skipped", table.name, txn.version)
            if is_new:
                self._written[txn.app.split("@")[0]] = txn.version
                self.reached(f"after:{table.name}", txn.version)
            return written

        return watched

    def _merge(self, merge: Callable[..., None]) -> Callable[..., None]:
        def watched(lake: Lakehouse, table: Any, delta: Any, rows: Any, txn: Any) -> None:
            merge(lake, table, delta, rows, txn)
            if txn.app.endswith("#known"):
                self.reached(f"between:{table.name}", txn.version)

        return watched

    def _settling(self, overwrite: Callable[..., None]) -> Callable[..., None]:
        def watched(lake: Lakehouse, table: Any, *others: Any, **named: Any) -> None:
            self.reached(f"before-settling:{table.name}", -1)
            overwrite(lake, table, *others, **named)
            self.reached(f"after-settling:{table.name}", -1)

        return watched

    def _forwarding(self, send: Callable[..., int]) -> Callable[..., int]:
        def watched(forwarder: Forwarder, rows: Any, *batch: Any) -> int:
            name = forwarder._forward.name
            has_errors = "ERROR" in rows["level"].to_pylist()
            if has_errors:
                self.reached(f"before:{name}", -1)
            sent = send(forwarder, rows, *batch)
            if has_errors:
                self.reached(f"after:{name}", -1)
            return sent

        return watched

    def _batch(self, batch: Callable[..., None]) -> Callable[..., None]:
        def watched(part: Any, frame: Any, batch_id: int) -> None:
            self._journal.note("begun", part.name, batch_id)
            batch(part, frame, batch_id)
            if self._written.get(part.name) == batch_id:
                self.reached(f"before-commit-log:{part.name}", batch_id)
            self._journal.note("ended", part.name, batch_id)

        return watched


def unprotect(put: Callable[[type, str, Any], None] = setattr) -> None:
    put(Lakehouse, "_has_seen", lambda *_: False)


def main(arguments: list[str]) -> int:
    own = arguments[: arguments.index("--")]
    parser = argparse.ArgumentParser()
    parser.add_argument("journal")
    parser.add_argument("--die")
    parser.add_argument("--unprotected", action="store_true")
    given = parser.parse_args(own)
    if os.getpgid(0) != os.getpid():
        raise SystemExit("a victim must lead a process group of its own: it kills all of it")
    if given.unprotected:
        unprotect()
    if (given.die or "").startswith("between"):  # by the house's own hand an upsert is one commit
        lakehouse.is_plain = lambda *_: False
    journal = Journal(given.journal)
    journal.note("started", given.die or "", -1)
    Victim(journal, given.die).watch()
    return cli.main(arguments[len(own) + 1 :])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
