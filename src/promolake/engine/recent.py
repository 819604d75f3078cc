"""The data files of a table by the time their rows span, and the rows of the newest ones in memory: what a batch changes, and reads again.

An upsert of this house's own hand (commits.py) takes the files with a row of its grains out of the table and puts one in their place, in
one commit. To delta-rs, which reads and plans it anew each time, the same costs twenty milliseconds of a core.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable

from promolake.core.table import Table
from promolake.engine.arrow import arrow_schema, conformed

MAX_BYTES = 8_000_000  # of rows of one table kept in memory; what a late row needs beyond is read back
_UNKNOWN = 2**62
_EVER = datetime.min.replace(tzinfo=UTC)


@dataclass
class _File:
    low: datetime | None  # of the time column; None when nobody said
    high: datetime | None
    count: int
    rows: pa.Table | None = None
    size: int = 0  # of the rows, in bytes: Arrow takes a tenth of a millisecond to tell, and each upsert asks it of every file

    def hold(self, rows: pa.Table) -> None:
        self.rows, self.count, self.size = rows, rows.num_rows, rows.nbytes


class Recent:
    """The files of the table in `folder`, by their paths in it. `time` is the column they are found by, the first of its statistics."""

    def __init__(self, folder: Path, table: Table) -> None:
        self.time = table.stats[0]
        self.version = -1
        self._folder = folder
        self._table = table
        self._files: dict[str, _File] = {}

    def bring_up_to(self, delta: DeltaTable) -> None:
        """The files as `delta` has them; what is known of one of them stays known, as no file ever changes."""
        known, self._files = self._files, {}
        for file in pa.table(delta.get_add_actions(flatten=True)).to_pylist():
            low, high = (_utc(file.get(f"{bound}.{self.time}")) for bound in ("min", "max"))
            self._files[file["path"]] = known.get(file["path"]) or _File(low, high, _count(file["num_records"]))
        self.version = delta.version()

    @property
    def is_bounded(self) -> bool:
        """Whether of each file it is known what time it spans."""
        return all(file.low is not None and file.high is not None for file in self._files.values() if file.count)

    @property
    def newest(self) -> datetime | None:
        """The greatest time of any file."""
        return max((file.high for file in self._files.values() if file.high is not None), default=None)

    def spanning(self, low: datetime, high: datetime) -> list[str]:
        """The files that may have a row of the time between, both included."""
        return [
            name for name, file in self._files.items() if file.low is None or file.high is None or (file.low <= high and file.high >= low)
        ]

    def counts(self, names: Sequence[str]) -> list[int]:
        """How many rows each of the files has."""
        return [self._files[name].count for name in names]

    def rows(self, names: Sequence[str]) -> pa.Table:
        """The rows of the files, those of one after those of the other."""
        for name in names:
            file = self._files[name]
            if file.rows is None:
                file.hold(conformed(pq.read_table(self._folder / unquote(name)), self._table))
        found = pa.concat_tables([self._files[name].rows for name in names] or [arrow_schema(self._table).remove_metadata().empty_table()])
        self._let_go()
        return found

    def follow(self, new: Sequence[tuple[str, pa.Table]], old: Sequence[str]) -> None:
        """The next version: with the files of these rows, without the old ones."""
        for name in old:
            del self._files[name]
        for name, rows in new:
            bounds = pc.min_max(rows[self.time]).as_py()
            file = self._files[name] = _File(_utc(bounds["min"]), _utc(bounds["max"]), rows.num_rows)
            file.hold(rows)
        self.version += 1
        self._let_go()

    def _let_go(self) -> None:
        """Of the oldest files' rows, when there are too many."""
        held = [file for file in self._files.values() if file.rows is not None]
        total = sum(file.size for file in held)
        if total > MAX_BYTES:
            for file in sorted(held, key=lambda one: one.high or _EVER):
                file.rows = None
                total -= file.size
                if total <= MAX_BYTES // 2:  # half of them, so that it does not come to this in every batch
                    break


def upserted(table: Table, standing: pa.Table, counts: Sequence[int], new: pa.Table) -> tuple[list[int], pa.Table]:
    """In: the rows of files, `counts` of each, and rows with each grain once. Out: which of the files change (by their place), and the
    rows that take their place: theirs with the new ones added (ACCUMULATE) or in place (REPLACE), and the new ones of no standing grain.

    As in SQL, what is NULL in a grain equals nothing, and what is added to NULL is NULL. Raises pyarrow.ArrowInvalid on overflow.
    """
    grain = list(table.grain)
    sides = (_numbered(standing.select(grain), "at"), _numbered(new.select(grain), "by"))
    pairs = sides[0].join(sides[1], grain, join_type="inner", use_threads=False).sort_by("at")
    at, by = pairs["at"].to_numpy(), pairs["by"].to_numpy()
    place = np.repeat(np.arange(len(counts)), counts)  # of each standing row: its file
    changed = np.unique(place[at])
    stays = np.isin(place, changed)
    stays[at] = False
    inserted = np.ones(new.num_rows, bool)
    inserted[by] = False
    matched = _updated(table, standing.take(pairs["at"]), new.take(pairs["by"]))
    rows = pa.concat_tables([standing.filter(pa.array(stays)), matched, new.filter(pa.array(inserted))])
    return changed.tolist(), rows.combine_chunks()  # or each upsert would leave them in some pieces more


def _updated(table: Table, before: pa.Table, now: pa.Table) -> pa.Table:
    """Rows that stood, each with the new one of its grain."""
    for name in table.sums:
        place = now.schema.get_field_index(name)
        now = now.set_column(place, now.field(place), pc.add_checked(before[name], now[name]).cast(now[name].type))
    return now


def _numbered(rows: pa.Table, name: str) -> pa.Table:
    return rows.append_column(name, pa.array(np.arange(rows.num_rows)))


def _count(said: int | None) -> int:
    """Of a file that says nothing: more than anybody takes into memory."""
    return _UNKNOWN if said is None else said


def _utc(time: datetime | None) -> datetime | None:
    return time if time is None else time.astimezone(UTC)
