"""Does gold hold what was sent? The simulator's own books (plain Python) against the tables, figure by figure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from promolake.core.table import Table
from promolake.engine.lakehouse import Lakehouse
from promolake.gold import (
    errors_per_minute,
    funnel_per_minute,
    gmv_per_minute,
    requests_per_ip_per_minute,
    sales_per_product_per_minute,
    traffic_per_minute,
)

Figures = dict[str, Decimal]
_ADDITIVE = ("gmv_amount", "refund_amount", "unit_count", "sale_count")


@dataclass(frozen=True)
class Compared:
    figure: str
    sent: Decimal
    gold: Decimal

    @property
    def agrees(self) -> bool:
        return self.sent == self.gold


def held(lake: Lakehouse) -> Figures:
    """What gold holds in all, by the name of the figure."""
    found: Figures = {}
    gmv = _columns(lake, gmv_per_minute.TABLE, "currency", *_ADDITIVE)
    for name in _ADDITIVE:
        for currency, value in _per(gmv, "currency", name).items():
            found[f"{name} {currency}"] = value
    sales = _columns(lake, sales_per_product_per_minute.TABLE, "currency", "sales_amount")
    for currency, value in _per(sales, "currency", "sales_amount").items():
        found[f"sales_amount {currency}"] = value
    found["order_count"] = _sum(_columns(lake, funnel_per_minute.TABLE, "order_count"), "order_count")
    traffic = _columns(lake, traffic_per_minute.TABLE, "request_count", "page_view_count")
    found["request_count"] = _sum(traffic, "request_count")
    found["page_view_count"] = _sum(traffic, "page_view_count")
    found["request_count by IP"] = _sum(_columns(lake, requests_per_ip_per_minute.TABLE, "request_count"), "request_count")
    found["error_count"] = _sum(_columns(lake, errors_per_minute.TABLE, "error_count"), "error_count")
    return found


def promised(truth: dict[str, Any]) -> Figures:
    """What gold must hold of a simulation, from its report's `truth`."""
    found: Figures = {}
    for currency, figures in truth["orders"].items():
        for name in _ADDITIVE:
            found[f"{name} {currency}"] = Decimal(str(figures[name]))
        found[f"sales_amount {currency}"] = Decimal(str(figures["gmv_amount"]))
    found["order_count"] = Decimal(sum(figures["order_count"] for figures in truth["orders"].values()))
    found["request_count"] = found["request_count by IP"] = Decimal(truth["request_count"])
    found["page_view_count"] = Decimal(truth["page_view_count"])
    found["error_count"] = Decimal(truth["error_count"])
    return found


def compared(promised: Figures, before: Figures, after: Figures) -> list[Compared]:
    """Every figure, as sent and as gold grew by; one that either side lacks is 0 there."""
    nothing = Decimal(0)
    names = sorted({*promised, *after})
    return [Compared(name, promised.get(name, nothing), after.get(name, nothing) - before.get(name, nothing)) for name in names]


def _columns(lake: Lakehouse, table: Table, *names: str) -> pa.Table:
    return lake.read(table, names)


def _sum(rows: pa.Table, name: str) -> Decimal:
    return Decimal(pc.sum(rows[name]).as_py() or 0)


def _per(rows: pa.Table, by: str, name: str) -> Figures:
    return {row[by]: Decimal(row[f"{name}_sum"] or 0) for row in rows.group_by(by).aggregate([(name, "sum")]).to_pylist()}
