"""A copy of a healthy lake, ways to damage it, and what `verify` finds wrong with it then."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
from pyspark.sql import SparkSession

from promolake.engine.comparing import Finding
from promolake.engine.lakehouse import Lakehouse
from promolake.engine.ledger import LEDGER
from promolake.engine.rebuilding import Rebuilder, Settler
from promolake.engine.verifying import Verifier, scope
from promolake.hallway import HALLWAY

BY_NAME = {table.name: table for table in (*HALLWAY.tables, LEDGER)}
(JOIN,) = HALLWAY.joins
MARKS = "settled.json"
Damage = Callable[[pa.Table], pa.Table]


class Verified:
    """A copy of the healthy lake that may be damaged and is then verified."""

    def __init__(self, root: Path, spark: SparkSession, rebuilder: Rebuilder) -> None:
        self.lake = Lakehouse(root / "lake", lambda: spark)
        self._spark = spark
        self._rebuilder = rebuilder
        self._marks = root / MARKS

    def damage(self, name: str, damage: Damage) -> None:
        table = BY_NAME[name]
        self.lake.overwrite(table, damage(self.lake.read(table, table.column_names)))

    def never_settled(self) -> None:
        self._marks.unlink()

    def settle(self) -> None:
        Settler(self.lake, self._marks).settle(JOIN)

    def findings(self, *names: str, since: datetime | None = None) -> list[Finding]:
        verifier = Verifier(HALLWAY, self._spark, self.lake, self._rebuilder, Settler(self.lake, self._marks))
        return list(verifier.verify(scope(HALLWAY, names), since, print))

    def wrong(self, *names: str, since: datetime | None = None) -> dict[tuple[str, str], str]:
        """What is wrong, in words, by check and subject."""
        return {(found.check, found.subject): found.example for found in self.findings(*names, since=since) if found.is_wrong}


# --- damages ---------------------------------------------------------------------------------------------------------------------


def a_little_more(*names: str) -> Damage:
    """In the first row that has all of these figures each is greater by its smallest unit (a double by a billionth of it)."""

    def damage(rows: pa.Table) -> pa.Table:
        book = rows.to_pylist()
        row = next(row for row in book if all(row[name] is not None for name in names))
        for name in names:
            value = row[name]
            row[name] += Decimal("0.0001") if isinstance(value, Decimal) else 1 if isinstance(value, int) else value * 1e-9
        return pa.Table.from_pylist(book, rows.schema)

    return damage


def without_first(rows: pa.Table) -> pa.Table:
    return rows.slice(1)


def first_twice(rows: pa.Table) -> pa.Table:
    return pa.concat_tables([rows, rows.slice(0, 1)])


def no_touch(rows: pa.Table) -> pa.Table:
    """The first row that had a view has none."""
    book = rows.to_pylist()
    row = next(row for row in book if row["view_id"])
    row |= {"view_id": None, "viewed_at": None}
    return pa.Table.from_pylist(book, rows.schema)


def book_of_orders(rows: pa.Table) -> list[dict]:
    """The ledger with the orders' rows first, by partition and offset."""
    return sorted(rows.to_pylist(), key=lambda row: (row["topic"] != "shop.orders", row["partition"], row["first_offset"]))


def changed(number: int, **by: int) -> Damage:
    """The orders' row of that number has figures that are off."""

    def damage(rows: pa.Table) -> pa.Table:
        book = book_of_orders(rows)
        book[number] |= {name: book[number][name] + n for name, n in by.items()}
        return pa.Table.from_pylist(book, rows.schema)

    return damage


def without_row(number: int) -> Damage:
    def damage(rows: pa.Table) -> pa.Table:
        book = book_of_orders(rows)
        return pa.Table.from_pylist(book[:number] + book[number + 1 :], rows.schema)

    return damage
