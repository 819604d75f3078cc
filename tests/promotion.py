"""A promotion in a lake, written micro-batch by micro-batch as the engine writes it (engine/scan.py), without Kafka and without Spark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasketches import HLL_8, hll_sketch

from promolake.alerts.tables import ALERTS
from promolake.core.table import Table
from promolake.engine.arrow import arrow_schema
from promolake.engine.lakehouse import Lakehouse, Txn
from promolake.engine.ledger import LEDGER
from promolake.gold.traffic_per_minute import SKETCH_BITS
from promolake.hallway import HALLWAY

MIDNIGHT = datetime(2026, 11, 11, tzinfo=UTC)
APP = "main@0f0e0d0c"
TABLES = {metric.table.short: metric.table for metric in HALLWAY.metrics}
TOPICS = tuple(flow.topic.name for flow in HALLWAY.ingests)

Rows = Iterable[Mapping[str, Any]]


class Promotion:
    """The lake under `root`; the tables are there and empty at first."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.batches = 0
        self._lake = Lakehouse(root)
        self._lake.create([*TABLES.values(), *(join.table for join in HALLWAY.joins), LEDGER, ALERTS])

    def batch(self, rows: Mapping[str, Rows], reached: datetime | None = None, topics: Iterable[str] = TOPICS) -> None:
        """One micro-batch: `rows` by the short name of the gold table, then its entry in the ledger, whose topics have `reached` so far."""
        self.gold(rows)
        self.book(reached, topics)

    def gold(self, rows: Mapping[str, Rows]) -> None:
        """The gold of a micro-batch that is not in the ledger yet."""
        for name, given in rows.items():
            table = TABLES[name]
            self._lake.upsert(table, filled(table, given), Txn(f"{APP}:{table.name}", self.batches))

    def book(self, reached: datetime | None = None, topics: Iterable[str] = TOPICS) -> None:
        entry = {"query": "main", "batch_id": self.batches, "newest_event_time": reached, "ingested_at": datetime.now(UTC)}
        self._lake.append(LEDGER, filled(LEDGER, [entry | {"topic": topic} for topic in topics]), Txn(f"{APP}:{LEDGER.name}", self.batches))
        self.batches += 1

    def alert(self, name: str, summary: str, minute: int, status: str = "firing") -> None:
        """A micro-batch that brings nothing but an alert."""
        row = {"alert_id": f"{name}{minute}{status}", "alert": name, "status": status, "labels": '{"severity": "page"}', "value": 1.5}
        row |= {"annotations": f'{{"summary": "{summary}"}}', "starts_at": at(minute), "ingested_at": at(minute)}
        self._lake.append(ALERTS, filled(ALERTS, [row]), Txn(f"{APP}:{ALERTS.name}", self.batches))
        self.book()


def at(minute: float) -> datetime:
    return MIDNIGHT + timedelta(minutes=minute)


def sale(minute: int, currency: str, amount: str, refund: str = "0", ordered: str | None = None) -> dict[str, Any]:
    """A row of gmv_per_minute."""
    figures = {"gmv_amount": amount, "refund_amount": refund, "ordered_amount": ordered or amount, "sale_count": 1, "order_count": 1}
    return {"minute": minute, "currency": currency, "category": "toys"} | figures


def sold(minute: int, product: str, amount: str, units: int = 1, currency: str = "CNY") -> dict[str, Any]:
    """A row of sales_per_product_per_minute."""
    return {"minute": minute, "currency": currency, "product_id": product, "sales_amount": amount, "unit_count": units, "sale_count": 1}


def busy_minute(minute: int, products: int = 8, addresses: int = 12) -> dict[str, list[dict[str, Any]]]:
    """Rows of every gold table for one minute; figures follow from its number."""
    wave = 40 + 25 * (minute % 7) + (minute * 13) % 17
    ips = [f"203.0.113.{(minute * 5 + n) % 200}" for n in range(addresses)]
    percent = {f"{name}_{kind}": 35.0 + base + minute % 9 for base, name in enumerate(("cpu", "mem", "io")) for kind in ("avg", "p75")}
    return {
        "gmv_per_minute": [
            sale(minute, "CNY", f"{wave * 310}.50", refund=f"-{minute % 5 * 99}.00", ordered=f"{wave * 350}.25"),
            sale(minute, "USD", f"{wave * 11}.10"),
        ],
        "sales_per_product_per_minute": [sold(minute, f"p{n:04}", f"{wave * (products - n)}.25", n + 1) for n in range(products)],
        "traffic_per_minute": [
            {"minute": minute, "request_count": wave * 9, "page_view_count": wave * 6, "visitor_sketch": sketch(ips)}
        ],
        "requests_per_ip_per_minute": [{"minute": minute, "ip": ip, "request_count": 3 + n} for n, ip in enumerate(ips)],
        "machine_metrics_per_minute": [{"minute": minute, "host": "*", "sample_count": 60} | percent],
        "errors_per_minute": [{"minute": minute, "service": "cart", "error_count": minute % 4, "event_count": wave}],
        "funnel_per_minute": [{"minute": minute, "search_count": wave * 4, "view_count": wave * 3, "order_count": wave // 2}],
    }


def busy(minutes: Iterable[int]) -> dict[str, list[dict[str, Any]]]:
    """The same for several minutes."""
    return {name: [row for minute in minutes for row in busy_minute(minute)[name]] for name in TABLES}


def filled(table: Table, rows: Rows) -> pa.Table:
    """The rows with their windows, money as decimals; what is not given is 0 for a figure and NULL otherwise."""
    money = {c.name for c in table.columns if c.type.startswith("decimal")}
    nothing = {c.name: 0 for c in table.columns if c.type == "bigint" or c.name in money}
    given = []
    for row in rows:
        window = {"window_start": at(row["minute"]), "window_end": at(row["minute"] + 1)} if "minute" in row else {}
        full = nothing | dict(row) | window
        given.append({name: Decimal(full[name]) if name in money else full.get(name) for name in table.column_names})
    return pa.Table.from_pylist(given, schema=arrow_schema(table))


def sketch(visitors: Iterable[str]) -> bytes:
    made = hll_sketch(SKETCH_BITS, HLL_8)
    for visitor in visitors:
        made.update(visitor)
    return made.serialize_updatable()
