"""A Delta table as a contract: columns, grain, and how it is written."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Written(StrEnum):
    """How a table takes a batch. Every way carries the flow's transaction id, so a replayed batch is harmless."""

    APPEND = "append"  # rows are added and never touched again: the only tables that may be streamed from
    ACCUMULATE = "accumulate"  # a row's figures are added to the row of its grain
    REPLACE = "replace"  # a row takes the place of the row of its grain


@dataclass(frozen=True)
class Column:
    """One column: `type` is Spark's DDL name for it."""

    name: str
    type: str
    description: str


@dataclass(frozen=True)
class Table:
    """A table named `layer.name`; `grain` names the columns of which one row exists per combination (empty for append)."""

    name: str
    description: str
    columns: tuple[Column, ...]
    written: Written = Written.APPEND
    grain: tuple[str, ...] = ()
    # The columns whose min/max Delta keeps in its log in clear text: times and positions, never a personal datum.
    stats: tuple[str, ...] = ()
    # Several processes of a home may write it, one commit at a time (what each says of itself); any other table has one writer.
    shared: bool = False

    @property
    def layer(self) -> str:
        return self.name.split(".")[0]

    @property
    def short(self) -> str:
        """The name without its layer; also the name of its module, query and checkpoint."""
        return self.name.split(".")[1]

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def figures(self) -> tuple[str, ...]:
        """The columns outside the grain."""
        return tuple(name for name in self.column_names if name not in self.grain)

    @property
    def sums(self) -> tuple[str, ...]:
        """The figures that are added to those of the row that stands: where it accumulates all of them, but for the end of a window."""
        return tuple(name for name in self.figures if name != "window_end") if self.written is Written.ACCUMULATE else ()

    @property
    def ddl(self) -> str:
        return ", ".join(f"`{column.name}` {column.type}" for column in self.columns)
