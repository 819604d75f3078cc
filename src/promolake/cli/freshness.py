"""Event -> gold as an outsider sees it: a reader that only opens the Delta table, and the books of when each sale was sent."""

from __future__ import annotations

import bisect
import math
import threading
import time
from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import DeltaError

from promolake.engine.delta_log import has_more

POLL_SECONDS = 0.03


class GoldWatch:
    """Polls a gold table in a thread and remembers when which total of its `sale_count` was first visible."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._seen: list[tuple[int, float]] = []  # total so far, wall clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="gold-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def first_row_at(self) -> float | None:
        return self._seen[0][1] if self._seen else None

    def delays(self, sales: Path, baseline: int, after: float, until: float = math.inf) -> list[float]:
        """Seconds from the intended send time of each mark in the simulator's books to its sales' being in gold, ascending.

        `sales` has lines `intended send time,sale lines sent before it,...`; `baseline` is what gold held before; marks sent before
        `after` (warm-up) or from `until` on are left out. A mark not yet visible has no delay.
        """
        totals = [total - baseline for total, _ in self._seen]
        found, before = [], 0
        for line in sales.read_text(encoding="ascii").splitlines():
            fields = line.split(",")
            if len(fields) < 3 or int(fields[1]) == before:  # still being written, or nothing sold since
                continue
            sent, before = float(fields[0]), int(fields[1])
            place = bisect.bisect_left(totals, before)
            if place < len(totals) and after <= sent < until:
                found.append(self._seen[place][1] - sent)
        return sorted(found)

    def _watch(self) -> None:
        table: DeltaTable | None = None
        version = -1
        while not self._stop.wait(POLL_SECONDS):
            try:
                if table is None:
                    table = DeltaTable(self._path)
                elif not has_more(Path(self._path), table.version()):
                    continue
                else:
                    table.update_incremental()
                if table.version() == version:
                    continue
                total = pa.table(QueryBuilder().register("t", table).execute("SELECT sum(sale_count) AS n FROM t").read_all())["n"][
                    0
                ].as_py()
            except (DeltaError, OSError):  # not created yet
                table = None
                continue
            version = table.version()
            if total and (not self._seen or total > self._seen[-1][0]):
                self._seen.append((total, time.time()))


def quantile(ascending: list[float], share: float) -> float | None:
    return ascending[min(len(ascending) - 1, int(len(ascending) * share))] if ascending else None
