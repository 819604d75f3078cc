"""A small lake, written as the engine writes it, without Spark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from datasketches import HLL_8, hll_sketch

from promolake.core.table import Table
from promolake.engine.arrow import arrow_schema
from promolake.engine.lakehouse import Lakehouse, Txn
from promolake.gold.attributed_orders import TABLE as ATTRIBUTED
from promolake.gold.funnel_per_minute import TABLE as FUNNEL
from promolake.gold.gmv_per_minute import TABLE as GMV
from promolake.gold.requests_per_ip_per_minute import TABLE as REQUESTS_PER_IP
from promolake.gold.sales_per_product_per_minute import TABLE as SALES
from promolake.gold.traffic_per_minute import SKETCH_BITS
from promolake.gold.traffic_per_minute import TABLE as TRAFFIC

MIDNIGHT = datetime(2026, 11, 11, tzinfo=UTC)


class Lake:
    """`add` writes rows; a minute is given as `minute`, the minutes since midnight, and money as text."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lakehouse = Lakehouse(root)
        self._written = 0

    def add(self, table: Table, rows: Iterable[dict[str, Any]]) -> None:
        """Creates the table and, where it has a grain, merges the rows as a batch of the engine does."""
        self._lakehouse.create([table])
        self._written += 1
        given = pa.Table.from_pylist([_filled(table, row) for row in rows], schema=arrow_schema(table))
        write = self._lakehouse.upsert if table.grain else self._lakehouse.append
        write(table, given, Txn("test", self._written))

    def gmv(self, *rows: tuple[int, str, str, str]) -> None:
        """Rows of (minute, currency, gmv_amount, refund_amount)."""
        self.add(GMV, ({"minute": m, "currency": c, "category": "toys", "gmv_amount": g, "refund_amount": r} for m, c, g, r in rows))

    def sales(self, *rows: tuple[int, str, str, str, int]) -> None:
        """Rows of (minute, currency, product_id, sales_amount, unit_count)."""
        names = ("minute", "currency", "product_id", "sales_amount", "unit_count")
        self.add(SALES, (dict(zip(names, row, strict=True)) for row in rows))

    def requests(self, *rows: tuple[int, str, int]) -> None:
        """Rows of (minute, ip, request_count)."""
        self.add(REQUESTS_PER_IP, ({"minute": m, "ip": ip, "request_count": n} for m, ip, n in rows))

    def funnel(self, *rows: tuple[int, int, int, int]) -> None:
        """Rows of (minute, search_count, view_count, order_count)."""
        names = ("minute", "search_count", "view_count", "order_count")
        self.add(FUNNEL, (dict(zip(names, row, strict=True)) for row in rows))

    def paid_lines(self, *rows: tuple[int, str | None, str | None]) -> None:
        """Rows of (minute, view_id, search_id), half a minute past."""
        at = timedelta(seconds=30)
        rows_at = [{"event_id": f"e{n}", "event_time": time(m) + at, "view_id": v, "search_id": s} for n, (m, v, s) in enumerate(rows)]
        self.add(ATTRIBUTED, rows_at)

    def traffic(self, *rows: tuple[int, Sequence[str]]) -> None:
        """Rows of (minute, the addresses that asked)."""
        sketches = [{"minute": m, "request_count": len(ips), "page_view_count": 1, "visitor_sketch": sketch(ips)} for m, ips in rows]
        self.add(TRAFFIC, sketches)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def time(minute: int) -> datetime:
    return MIDNIGHT + timedelta(minutes=minute)


def sketch(visitors: Iterable[str]) -> bytes:
    made = hll_sketch(SKETCH_BITS, HLL_8)
    for visitor in visitors:
        made.update(visitor)
    return made.serialize_updatable()


def _filled(table: Table, row: dict[str, Any]) -> dict[str, Any]:
    """The row with its window and with money as decimals; what is not given is 0 for a figure and NULL otherwise."""
    if "minute" in row:
        row = {**row, "window_start": time(row["minute"]), "window_end": time(row["minute"] + 1)}
    money = {c.name for c in table.columns if c.type.startswith("decimal")}
    nothing = {c.name: 0 for c in table.columns if c.type == "bigint" or c.name in money}
    filled = nothing | row
    return {name: Decimal(filled[name]) if name in money else filled.get(name) for name in table.column_names}
