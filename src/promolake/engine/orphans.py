"""Records of bronze that a lost commit left behind: their data files are there, and no commit names them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from promolake.core.table import Table
from promolake.engine.arrow import arrow_schema, conformed
from promolake.engine.delta_log import DeltaLog

_POSITION = ["partition", "offset"]


class Orphans:
    """What one bronze table holds, lacks and has left lying about, measured by the topic's rows of ops.ledger (`booked`)."""

    def __init__(self, table: Table, log: DeltaLog, booked: pa.Table) -> None:
        self._table = table
        self._log = log
        self._known = log.files()
        held = self._rows([*_POSITION, "ingested_at"], named=True)
        self._held = _keys(held)
        earliest = pc.min(held["ingested_at"])
        # What is older than the oldest record was forgotten on purpose (maintenance.bronze_days).
        self._booked = booked.filter(pc.greater_equal(booked["ingested_at"], earliest)) if earliest.is_valid else booked

    @property
    def is_whole(self) -> bool:
        """Whether the table holds every record the ledger counted."""
        return int(self._is_booked(self._held).sum()) >= (pc.sum(self._booked["read_count"]).as_py() or 0)

    def found(self) -> pa.Table | None:
        """The lacking records, each once; None unless they are all there."""
        rows = self._rows(list(self._table.column_names), named=False)
        keys = _keys(rows)
        lost = self._is_booked(keys) & ~np.isin(keys, self._held)
        first = np.zeros(len(keys), dtype=bool)
        first[np.unique(keys, return_index=True)[1]] = True
        lost_rows = rows.filter(pa.array(first & lost))
        needed = (pc.sum(self._booked["read_count"]).as_py() or 0) - int(self._is_booked(self._held).sum())
        return lost_rows if lost_rows.num_rows == needed > 0 else None

    def _rows(self, columns: list[str], *, named: bool) -> pa.Table:
        """Rows of the files the log names, or of those it does not."""
        files = [file for file in sorted(self._log.table.glob("*.parquet")) if (file in self._known) is named and file.stat().st_size]
        found = [conformed(pq.read_table(file), self._table).select(columns) for file in files]
        return pa.concat_tables(found) if found else arrow_schema(self._table).empty_table().select(columns)

    def _is_booked(self, keys: np.ndarray) -> np.ndarray:
        """Whether each position lies in a range that was read."""
        starts = _keys(self._booked.rename_columns({"first_offset": "offset"}))
        ends = _keys(self._booked.rename_columns({"last_offset": "offset"}))
        if not len(starts):
            return np.zeros(len(keys), dtype=bool)
        order = np.argsort(starts)
        place = np.searchsorted(starts[order], keys, side="right") - 1
        return (place >= 0) & (keys <= ends[order][place])


def _keys(rows: pa.Table) -> np.ndarray:
    """Positions as one number each, in the order of partition and offset."""
    return (rows["partition"].to_numpy().astype(np.int64) << 48) + rows["offset"].to_numpy()
