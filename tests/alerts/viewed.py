"""A lake with the watcher of one rule over a view."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from alerts.conftest import MIDNIGHT
from promolake.alerts.tables import ALERTS
from promolake.alerts.watch import AlertWatch
from promolake.cli.watching import sources
from promolake.core.table import Table
from promolake.engine.arrow import arrow_schema
from promolake.engine.lakehouse import Lakehouse, Txn
from promolake.gold.funnel_per_minute import TABLE as FUNNEL
from promolake.gold.gmv_per_minute import TABLE as GMV
from promolake.gold.requests_per_ip_per_minute import TABLE as REQUESTS
from promolake.gold.sales_per_product_per_minute import TABLE as SALES

FRAME = """
groups:
  - name: views
    rules:
      - RULE
route: {receiver: log}
receivers: [{name: log, channels: []}]
"""
LEADER = """{alert: Leader, table: gold.top_products, over: 5m, where: "span = '5 minutes' AND ranked_by = 'units' AND rank = 1",
         by: [product_id], value: max(unit_count), expr: value >= 100, annotations: {summary: "{{ labels.product_id }} leads"}}"""
CONVERSION = """{alert: Conversion, table: gold.conversion, over: 1m, value: sum(orders_per_view), baseline: 3m,
         expr: value < 0.5 * baseline}"""
RUNNING = "{alert: Running, table: gold.gmv_running, over: 1h, by: [currency], value: sum(gmv_amount), expr: value >= 100, early: true}"
BUSIEST = """{alert: Busiest, table: gold.top_ips, over: 1h, where: "span = 'hour' AND rank = 1", by: [ip], value: max(request_count),
         expr: value >= 100, early: true}"""


class Lake:
    """A lake, the watcher of one rule, and batches of rows: a minute and the figures that are not 0."""

    def __init__(self, home: Path, rule: str, ours: Iterable[str] = ()) -> None:
        home.mkdir(exist_ok=True)
        self.lake = Lakehouse(home / "lake")
        self.file = home / "alerts.yaml"
        self.file.write_text(FRAME.replace("RULE", rule))
        self.asked: list[tuple[str, datetime, datetime]] = []
        self._between, self.lake.between = self.lake.between, self._noted  # type: ignore[method-assign]
        self.ours = set(ours) or {FUNNEL.name, GMV.name, REQUESTS.name, SALES.name}
        self.again()

    def _noted(self, table: Table, columns: Sequence[str], low: datetime, high: datetime) -> pa.Table:
        self.asked.append((table.name, low, high))
        return self._between(table, columns, low, high)

    def again(self) -> None:
        self.watch = AlertWatch(self.file, sources(), self.ours, print)

    def written(self, table: Table, number: int, *rows: dict[str, Any]) -> list[datetime]:
        whole = []
        for row in rows:
            start = MIDNIGHT + timedelta(minutes=row["minute"])
            figures = dict.fromkeys(table.column_names, 0) | dict.fromkeys(table.grain) | {"window_end": start + timedelta(minutes=1)}
            whole.append(figures | {"window_start": start} | {name: value for name, value in row.items() if name != "minute"})
        self.lake.upsert(table, pa.Table.from_pylist(whole, schema=arrow_schema(table)), Txn("scan", number))
        return sorted({row["window_start"] for row in whole})

    def batch(self, table: Table, number: int, *rows: dict[str, Any]) -> None:
        minutes = self.written(table, number, *rows)
        taken_at = MIDNIGHT + timedelta(hours=1, seconds=number)
        self.watch.look(self.lake, {table.name: minutes}, taken_at, lambda one: Txn(f"scan:{one.name}", number))

    def alerts(self) -> list[tuple[str, str, int]]:
        """Status, labels and minute, in the order they were told."""
        rows = self.lake.read(ALERTS, ALERTS.column_names).sort_by([("ingested_at", "ascending"), ("alert_id", "ascending")]).to_pylist()
        found = []
        for row in rows:
            labels = {name: value for name, value in json.loads(row["labels"]).items() if name != "alertname"}
            when = ((row["ends_at"] or row["starts_at"]).astimezone(UTC) - MIDNIGHT) // timedelta(minutes=1)
            found.append((row["status"], ",".join(labels.values()), when))
        return found


def sale(minute: int, product: str, units: int) -> dict[str, Any]:
    return {"minute": minute, "product_id": product, "currency": "CNY", "unit_count": units}


def visit(minute: int, views: int, orders: int) -> dict[str, Any]:
    return {"minute": minute, "search_count": 1, "view_count": views, "order_count": orders}


def start(minute: int) -> datetime:
    return MIDNIGHT + timedelta(minutes=minute)
