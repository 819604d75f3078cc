"""Small tables to write through the one door, by each of its hands, and what they hold then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from promolake.core.table import Column, Table, Written
from promolake.engine import lakehouse
from promolake.engine.arrow import arrow_schema
from promolake.engine.lakehouse import Lakehouse

MIDNIGHT = datetime(2026, 11, 11, tzinfo=UTC)
_WINDOWED = (
    Column("window_start", "timestamp", "The minute."),
    Column("window_end", "timestamp", "Its end."),
    Column("product_id", "string", "The product."),
    Column("amount", "decimal(28,4)", "What it brought."),
    Column("units", "bigint", "How many."),
)
GRAIN = ("window_start", "product_id")
SALES = Table("gold.sales", "Adds up.", _WINDOWED, Written.ACCUMULATE, GRAIN, ("window_start",))
PRICES = Table("gold.prices", "Is replaced.", _WINDOWED, Written.REPLACE, GRAIN, ("window_start",))
PLACES = Table(
    "gold.places",
    "Is replaced, and knows no windows.",
    (Column("event_id", "string", "The event."), Column("event_time", "timestamp", "Its time."), Column("place", "string", "Where.")),
    Written.REPLACE,
    ("event_id",),
    ("event_time",),
)
TIMED_PLACES = replace(PLACES, name="gold.timed_places", grain=("event_id", "event_time"))
EVENTS = Table("silver.events", "Is appended to.", PLACES.columns, stats=("event_time",))

Figures = dict[tuple[int, str], tuple[Decimal, int]]
"""(amount, units) by (minute since midnight, product)."""


def left_to_delta_rs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lakehouse, "is_plain", lambda *_: False)


def time(minute: float) -> datetime:
    return MIDNIGHT + timedelta(minutes=minute)


def batch(figures: dict[tuple[int, str | None], tuple[Any, int]]) -> pa.Table:
    rows = [
        {
            "window_start": time(minute),
            "window_end": time(minute + 1),
            "product_id": product,
            "amount": None if amount is None else Decimal(amount),
            "units": units,
        }
        for (minute, product), (amount, units) in figures.items()
    ]
    return pa.Table.from_pylist(rows, schema=arrow_schema(SALES))


def held(lake: Lakehouse, table: Table = SALES) -> Figures:
    rows = lake.read(table, table.column_names).to_pylist()
    assert all(row["window_end"] - row["window_start"] == timedelta(minutes=1) for row in rows)
    found = {((row["window_start"] - MIDNIGHT) // timedelta(minutes=1), row["product_id"]): (row["amount"], row["units"]) for row in rows}
    assert len(found) == len(rows), "a grain stands twice"
    return found


def events(*rows: tuple[str, float, str]) -> pa.Table:
    return pa.Table.from_pylist([{"event_id": i, "event_time": time(m), "place": p} for i, m, p in rows], schema=arrow_schema(EVENTS))


def places(lake: Lakehouse, table: Table = EVENTS, where: str = "") -> dict[str, str]:
    return {row["event_id"]: row["place"] for row in lake.read(table, ["event_id", "place"], where).to_pylist()}


def files(lake: Lakehouse, table: Table) -> set[str]:
    return set(DeltaTable(lake.path(table)).file_uris())


@contextmanager
def crash_before_the_append() -> Iterator[None]:
    """The next append of delta-rs fails, the second of an upsert's two commits, and any commit by hand."""
    with pytest.MonkeyPatch.context() as patch:

        def failing(*_: object, **__: object) -> None:
            raise OSError("No space left on device")

        patch.setattr(lakehouse, "write_deltalake", failing)
        patch.setattr(lakehouse, "put", failing)
        yield
