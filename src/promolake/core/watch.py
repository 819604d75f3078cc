"""Watchers: what looks at gold after every micro-batch and writes down what it saw, in the batch's own transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from promolake.core.table import Table

if TYPE_CHECKING:
    import pyarrow as pa


class Lake(Protocol):
    """The part of the lakehouse a watcher may use; a write whose transaction was committed before is skipped."""

    def read(self, table: Table, columns: Iterable[str], where: str = "") -> pa.Table: ...
    def between(self, table: Table, columns: Sequence[str], low: datetime, high: datetime) -> pa.Table: ...
    def append(self, table: Table, rows: pa.Table, txn: Any) -> bool: ...
    def upsert(self, table: Table, rows: pa.Table, txn: Any) -> bool: ...


class Watcher(Protocol):
    """Looks at what a batch changed. `tables` are those it writes; a replayed batch must find it writing the same again."""

    name: str
    tables: tuple[Table, ...]

    def look(self, lake: Lake, changed: Mapping[str, list[datetime]], taken_at: datetime, txn: Callable[[Table], Any]) -> None:
        """`changed` has the minutes (UTC) in which rows of a table changed, by its name; `taken_at` is when the batch was cut."""

    def idle(self, lake: Lake, now: datetime, txn: Callable[[Table], Any]) -> None:
        """Nothing has come for a while, from no source: what depends on time alone is looked at by the clock (`now`, UTC)."""

    def forget(self) -> None:
        """The batch failed: what was remembered of it may not stand in any table."""
