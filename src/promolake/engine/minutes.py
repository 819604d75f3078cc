"""All of silver's rows in the minutes a batch touched: what a replacing metric is computed from.

The minutes of the batches just before are kept in memory, so that a batch reads silver only for minutes nobody has touched lately. What
is kept can always be read again; after a batch that failed it is forgotten.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from promolake.core.flow import Metric, Reads
from promolake.core.table import Table, Written
from promolake.engine.lakehouse import Lakehouse, time_ranges

_MINUTE = timedelta(minutes=1)
MAX_RANGES = 64  # of minutes in one condition; closer ones are read as one range
MAX_ROWS = 50_000  # kept of one table, beside those of the batch in hand; above it the minutes longest untouched are let go
MAX_PARTS = 32  # batches a minute is kept in pieces of; then they are put together


class Minutes:
    """The rows of silver, per input of the replacing ones among `metrics`. Safe to ask from several threads."""

    def __init__(self, lake: Lakehouse, metrics: Sequence[Metric]) -> None:
        wanted: dict[str, tuple[Table, set[str]]] = {}
        for reads in (reads for flow in metrics if flow.table.written is Written.REPLACE for reads in flow.reads):
            wanted.setdefault(reads.table.name, (reads.table, {"event_time"}))[1].update(reads.columns)
        self._kept = {name: _Kept(lake, table, sorted(columns)) for name, (table, columns) in wanted.items()}

    def touched(self, reads: Sequence[Reads], new: Mapping[str, pa.Table]) -> list[pa.Table]:
        """Per input all rows, silver's and the batch's, of the minutes in which a row of `new` (by table) of any of the inputs lies.

        Whether the batch's rows stand in silver already does not matter.
        """
        times = [new[one.table.name]["event_time"] for one in reads]
        minutes = pc.unique(pa.concat_arrays([pc.floor_temporal(t, unit="minute").combine_chunks() for t in times])).sort()
        return [self._kept[one.table.name].rows(minutes, new[one.table.name]) for one in reads]

    def take_in(self, new: Mapping[str, pa.Table]) -> None:
        """The rows of a batch that is committed, every table of it."""
        for name, kept in self._kept.items():
            kept.take_in(new[name])

    def forget(self) -> None:
        """After a batch that failed, so that a row cannot be taken in twice."""
        for kept in self._kept.values():
            kept.forget()


class _Kept:
    """One table's rows of the minutes lately touched: whole minutes, as silver had them after the last batch."""

    def __init__(self, lake: Lakehouse, table: Table, columns: Sequence[str]) -> None:
        self._lake = lake
        self._table = table
        self._columns = columns
        self._alone = threading.Lock()
        self.forget()

    def rows(self, minutes: pa.Array, new: pa.Table) -> pa.Table:
        with self._alone:
            wanted = minutes.to_pylist()
            self._load([minute for minute in wanted if minute not in self._touched], new)
            self._turn += 1
            self._touched.update(dict.fromkeys(wanted, self._turn))
            kept = (part for minute in wanted for part in self._rows.get(minute, ()))
            return pa.concat_tables([*kept, _within(new.select(self._columns), minutes)])

    def _load(self, missing: list[datetime], new: pa.Table) -> None:
        if self._has_all is None:
            self._has_all = self._lake.version(self._table) == 0  # not a row was ever written
        if not missing or self._has_all:
            return
        ranges = time_ranges("event_time", joined_up([(m, m + _MINUTE) for m in missing]))
        found = self._lake.read(self._table, [*{*self._columns, "event_id"}], ranges)
        found = _within(found, pa.array(missing, pa.timestamp("us", "UTC")))  # far apart minutes are read as one range
        found = found.filter(pc.invert(pc.is_in(found["event_id"], value_set=new["event_id"].combine_chunks())))
        self._keep(found.select(self._columns))

    def take_in(self, new: pa.Table) -> None:
        with self._alone:
            ours = _within(new.select(self._columns), pa.array(list(self._touched), pa.timestamp("us", "UTC")))
            self._has_all = self._has_all and ours.num_rows == new.num_rows
            self._keep(ours)
            if sum(part.num_rows for parts in self._rows.values() for part in parts) > MAX_ROWS:
                self._let_go()

    def _keep(self, rows: pa.Table) -> None:
        for minute, part in _by_minute(rows):
            parts = self._rows.setdefault(minute, [])
            parts.append(part)
            if len(parts) > MAX_PARTS:
                parts[:] = [pa.concat_tables(parts).combine_chunks()]

    def _let_go(self) -> None:
        """Half of what may be kept goes, so that it does not come to this in every batch."""
        self._has_all = False
        left = 0
        for minute in sorted(self._touched, key=self._touched.__getitem__, reverse=True):
            left += sum(part.num_rows for part in self._rows.get(minute, ()))
            if left > MAX_ROWS // 2 and self._touched[minute] < self._turn:
                del self._touched[minute]
                self._rows.pop(minute, None)

    def forget(self) -> None:
        with self._alone:
            self._rows: dict[datetime, list[pa.Table]] = {}  # by minute, and there by batch
            self._touched: dict[datetime, int] = {}  # minute -> the turn it was last asked for
            self._turn = 0
            self._has_all: bool | None = None  # whether silver has no row that is not kept, as in a new lake for a while


def _minute(rows: pa.Table) -> pa.ChunkedArray:
    return pc.floor_temporal(rows["event_time"], unit="minute")


def _within(rows: pa.Table, minutes: pa.Array) -> pa.Table:
    return rows.filter(pc.is_in(_minute(rows), value_set=minutes))


def _by_minute(rows: pa.Table) -> Iterator[tuple[datetime, pa.Table]]:
    """The rows of each minute, in their order."""
    minutes = _minute(rows).combine_chunks()
    order = pc.sort_indices(minutes)  # stable
    rows, start = rows.take(order), 0
    for run in pc.value_counts(minutes.take(order)).to_pylist():
        yield run["values"], rows.slice(start, run["counts"])
        start += run["counts"]


def joined_up(ranges: list[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    """Sorted half-open ranges with neighbours united, and then the narrowest gaps closed until at most MAX_RANGES are left."""
    united = [list(ranges[0])] if ranges else []
    for low, high in ranges[1:]:
        if low <= united[-1][1]:
            united[-1][1] = high
        else:
            united.append([low, high])
    if len(united) > MAX_RANGES:
        gaps = sorted(range(1, len(united)), key=lambda n: united[n][0] - united[n - 1][1], reverse=True)[: MAX_RANGES - 1]
        starts = [0, *sorted(gaps)]
        ends = [*starts[1:], len(united)]
        return [(united[start][0], united[end - 1][1]) for start, end in zip(starts, ends, strict=True)]
    return [(low, high) for low, high in united]
