"""Maintenance inside the writing process: on a local disk it is the only one that may (reliability.md 0.1). It never fails a stream."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from promolake.core.table import Table
from promolake.engine import housekeeping
from promolake.engine.lakehouse import Lakehouse
from promolake.settings import Maintenance as Rules

VACUUM_SECONDS = 6 * 3600.0
"""A vacuum looks at every file of the table, and what it removes is days old: a few times a day is often enough."""


class Maintenance:
    """Tends the tables of a lake, one after another, evenly spread over `rules.every`, in a thread of its own between start and close.

    Each task holds the lock under which this process writes the table, so no upsert conflicts with it. What goes wrong is said, and
    tried again in the next round.
    """

    def __init__(self, lake: Lakehouse, tables: Sequence[Table], rules: Rules, say: Callable[[str], None]) -> None:
        self._lake = lake
        self._tables = tables
        self._rules = rules
        self._say = say
        self._vacuumed: dict[str, float] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._rounds, name="maintenance", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Waits for the task in hand."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()

    def __enter__(self) -> Maintenance:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def round(self) -> None:
        """Tends every table once, at once."""
        for table in self._tables:
            self._tend(table)

    def _rounds(self) -> None:
        pause = self._rules.every_seconds / max(1, len(self._tables))
        while True:
            for table in self._tables:
                if self._closing.wait(pause):
                    return
                self._tend(table)

    def _tend(self, table: Table) -> None:
        try:
            done = self._tended(table)
        except Exception as error:  # whatever it is: the stream does not need it
            self._say(f"maintenance of {table.name} failed and will be tried again: {type(error).__name__}")
            return
        if done:
            self._say(f"maintenance of {table.name}: {', '.join(done)}")

    def _tended(self, table: Table) -> list[str]:
        """What was done, in words."""
        rules, tend, done = self._rules, self._lake.look_after, []
        if rules.bronze_days and table.layer == "bronze":
            today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
            before = today - timedelta(days=rules.bronze_days)
            if rows := tend(table, lambda delta: housekeeping.forgotten(delta, before)):
                done.append(f"{rows} records from before {before:%Y-%m-%d} forgotten")
        if files := tend(table, lambda delta: housekeeping.compacted(delta, table, rules.small_files)):
            done.append(f"{files} files less")
        if commits := tend(table, lambda delta: housekeeping.summed_up(delta, rules.keep_days)):
            done.append(f"{commits} commits summed up")
        if time.monotonic() - self._vacuumed.get(table.name, -VACUUM_SECONDS) >= VACUUM_SECONDS:
            self._vacuumed[table.name] = time.monotonic()
            if files := tend(table, lambda delta: housekeeping.vacuumed(delta, rules.keep_days)):
                done.append(f"{files} unneeded files removed")
        return done
