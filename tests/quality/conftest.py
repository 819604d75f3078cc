"""A clean lake with its audit, and a damaged copy with the audit of it: an audit takes long, so every law looks at one of these two."""

from __future__ import annotations

import shutil
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyspark.sql import SparkSession

import small_lake
from promolake import settings as configuration
from promolake.cli.snapshots import audited
from promolake.engine.lakehouse import Lakehouse, Txn
from promolake.engine.ledger import LEDGER
from promolake.engine.lock import writing
from promolake.gold.gmv_per_minute import TABLE as GMV
from promolake.gold.machine_metrics_per_minute import TABLE as METRICS
from promolake.gold.sales_per_product_per_minute import TABLE as SALES
from promolake.hallway import HALLWAY
from promolake.quality.audit import Audit
from promolake.quality.findings import AUDITS, Finding
from promolake.silver.orders import FLOW as ORDERS

PER_TOPIC, SEED = 40, 13  # of few seeds so small a day has a cancelled line
CANARY = "13812345678"
"""A phone number that stands where none may stand: an audit must find the row and not repeat the number."""


@dataclass(frozen=True)
class Audited:
    home: Path
    lake: Lakehouse
    began: datetime
    found: Audit
    hosts: set[str]  # that a connection was opened to

    def broken(self) -> dict[tuple[str, str], Finding]:
        return {(one.table_name, one.expectation): one for one in self.found.findings if not one.is_success}

    def pages(self) -> dict[str, str]:
        return {str(page.relative_to(self.home)): page.read_text() for page in (self.home / "audits").rglob("*") if page.is_file()}

    def rows(self) -> list[dict[str, Any]]:
        return self.lake.read(AUDITS, AUDITS.column_names).to_pylist()


@pytest.fixture(scope="session")
def clean_home(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = configuration.load(tmp_path_factory.mktemp("clean"))
    small_lake.filled(settings.lake, spark, b"a key for tests only", PER_TOPIC, SEED)
    return settings.home


@pytest.fixture(scope="session")
def clean(clean_home: Path, spark: SparkSession) -> Audited:
    """Five minutes after the newest row was taken in, with half an hour allowed."""
    return _audited(clean_home, spark, (), timedelta(minutes=5), 30)


@pytest.fixture(scope="session")
def damaged(clean_home: Path, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Audited:
    """An hour after the newest row was taken in, with half an hour allowed; audited are only the tables that were damaged."""
    home = tmp_path_factory.mktemp("damaged")
    shutil.copytree(clean_home / "lake", home / "lake", ignore=shutil.ignore_patterns("ops"))
    lake = Lakehouse(home / "lake")
    _damage(lake)
    return _audited(home, spark, [table.name for table in (ORDERS.table, GMV, SALES, METRICS)], timedelta(hours=1), 30)


def _audited(home: Path, spark: SparkSession, only: list[str] | tuple[()], later: timedelta, max_age: float) -> Audited:
    settings = configuration.load(home)
    lake = Lakehouse(settings.lake)
    began = pc.max(lake.read(ORDERS.table, ("ingested_at",))["ingested_at"]).as_py() + later
    hosts: set[str] = set()
    connect = socket.socket.connect

    def watched(self: socket.socket, address: Any) -> None:
        hosts.add(address[0] if isinstance(address, tuple) else "a file")
        connect(self, address)

    # The locks are those a running stream holds: an audit is not in its way, nor it in the audit's.
    with writing(home, [*HALLWAY.tables, LEDGER]), pytest.MonkeyPatch.context() as patched:
        patched.setattr(socket.socket, "connect", watched)
        found = audited(settings, spark, only, began, max_age, print)
    return Audited(home, lake, began, found, hosts)


def _damage(lake: Lakehouse) -> None:
    """Rows written past the stream, each with one thing wrong, and figures that were changed by hand."""
    orders = lake.read(ORDERS.table, ORDERS.table.column_names).to_pylist()
    good = next(row for row in orders if row["status"] == "PAID" and row["quantity"] > 0)
    wrong = [
        {"currency": CANARY},
        {"unit_price": -good["unit_price"]},
        {"quantity": -1},
        {"quantity": 2_000_000_000},
        {"status": CANARY},
        {"product_id": None},
        {"product_id": CANARY * 50},
        {"event_time": good["kafka_timestamp"] + timedelta(hours=1)},
        {},
        {},
    ]
    rows = [good | {"event_id": f"past-the-stream-{n}"} | one for n, one in enumerate(wrong)]
    rows[-1]["event_id"] = rows[-2]["event_id"]
    lake.append(ORDERS.table, pa.Table.from_pylist(rows, lake.read(ORDERS.table, ORDERS.table.column_names).schema), Txn("past", 0))
    _changed(lake, GMV, lambda row: {"gmv_amount": row["gmv_amount"] + type(row["gmv_amount"])("0.01")}, "gmv_amount")
    _changed(lake, GMV, lambda row: {"refund_amount": type(row["gmv_amount"])("0.01"), "window_end": row["window_start"]}, "unit_count")
    _changed(lake, SALES, lambda row: {"sale_count": None}, "sale_count")
    _changed(lake, METRICS, lambda row: {"cpu_p75": 200_000.0}, "cpu_p75")
    again = lake.read(GMV, GMV.column_names).slice(0, 1)
    lake.append(GMV, again, Txn("past", 0))


def _changed(lake: Lakehouse, table: Any, change: Any, where: str) -> None:
    """Changes the last row that has the figure."""
    rows = lake.read(table, table.column_names)
    listed = rows.to_pylist()
    last = max(n for n, row in enumerate(listed) if row[where])
    listed[last] |= change(listed[last])
    lake.overwrite(table, pa.Table.from_pylist(listed, rows.schema))
