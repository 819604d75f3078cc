"""Wires an audit: the lake's tables as of one moment, the stream's own judgement of a field, and where what is found goes.

Imports great_expectations, which takes seconds: only `promolake audit` may import this.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder
from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from promolake.columns import event_time, typed
from promolake.core.errors import SettingsError
from promolake.core.table import Table
from promolake.core.topic import Field
from promolake.engine.arrow import arrow_schema
from promolake.engine.lakehouse import KNOWN, Lakehouse, Txn
from promolake.engine.ledger import LEDGER
from promolake.engine.lock import writing
from promolake.engine.query_log import scan_names
from promolake.hallway import HALLWAY
from promolake.quality.audit import Audit, Snapshot, audit
from promolake.quality.findings import AUDITS
from promolake.quality.suites import Suites
from promolake.settings import Settings

PATIENCE_SECONDS = 10.0  # for a moment between two micro-batches
Say = Callable[[str], None]


def audited(settings: Settings, spark: SparkSession, only: Sequence[str], began: datetime, max_age: float | None, say: Say) -> Audit:
    """Audits the named tables, or all there are; adds the findings to ops.audits and puts the pages in place of the last audit's.

    Raises SettingsError for a table that is none or not there, HomeInUse while another audit runs.
    """
    lake = Lakehouse(settings.lake, lambda: spark)
    tables = chosen(lake, only)
    with writing(settings.home, [AUDITS]):
        versions, is_consistent = moment(lake, tables, scan_names(settings.home))
        if not is_consistent:
            say("a micro-batch is under way or was broken off: what differs between tables is only a warning")
        snapshots = {table.name: _snapshot(lake, table, versions[table.name]) for table in tables}
        audit_id = f"{began:%Y%m%dT%H%M%S.%fZ}"
        pages = settings.home / "audits"
        building = pages / "building"
        shutil.rmtree(building, ignore_errors=True)
        suites = Suites(building, audit_id, began)
        found = audit(HALLWAY, snapshots, problem, suites, began, say, max_age, is_consistent)
        rows = [{"audit_id": audit_id, "audited_at": began} | asdict(finding) for finding in found.findings]
        lake.append(AUDITS, pa.Table.from_pylist(rows, arrow_schema(AUDITS)), Txn(f"audit@{audit_id}", 0))
        shutil.rmtree(pages / "docs", ignore_errors=True)
        building.rename(pages / "docs")
    return found


def page(home: Path) -> Path:
    """The first of the pages of the last audit."""
    return home / "audits" / "docs" / "index.html"


def chosen(lake: Lakehouse, only: Sequence[str]) -> list[Table]:
    """The tables named with or without their layer; by default every one there is, with the ledger."""
    audited_tables = [flow.table for flow in (*HALLWAY.ingests, *HALLWAY.metrics, *HALLWAY.joins)]
    by_name = {table.name: table for table in audited_tables} | {table.short: table for table in audited_tables}
    for name in only:
        if name not in by_name:
            raise SettingsError(f"No table {name} can be audited.", f"Tables: {', '.join(table.name for table in audited_tables)}.")
        if not lake.exists(by_name[name]):
            raise SettingsError(f"There is no table {by_name[name].name} in {lake.root} yet.", "Fill it with `promolake run`.")
    tables = [by_name[name] for name in only] or [table for table in (*HALLWAY.tables, LEDGER) if lake.exists(table)]
    if not tables:
        raise SettingsError(f"The lake {lake.root} holds no table yet.", "Fill it with `promolake run` or `promolake demo`.")
    return list(dict.fromkeys(tables))


def moment(
    lake: Lakehouse, tables: Sequence[Table], apps: Sequence[str], patience: float = PATIENCE_SECONDS
) -> tuple[dict[str, int], bool]:
    """Versions of the tables, and whether they hold the same micro-batches.

    The ledger is a batch's last commit. If no table has seen a batch the ledger did not have before the versions were read, they hold
    whole batches only. A stream leaves such moments between its batches; they are waited for.
    """
    deadline = time.monotonic() + patience
    while True:
        booked = {app: lake.transaction(LEDGER, f"{app}:{LEDGER.name}") for app in apps} if lake.exists(LEDGER) else {}
        versions = {table.name: lake.version(table) for table in tables}
        if all(_last_batch(lake, table, app) <= batch for app, batch in booked.items() for table in tables):
            return versions, True
        if time.monotonic() > deadline:
            return versions, False
        time.sleep(0.05)


def problem(field: Field) -> SparkColumn | None:
    """What the stream would object to in the silver column of a field, were it sent again."""
    held = F.col(field.flat)
    text = held.cast("string")
    if field.kind == "time":
        return event_time.problem(text, held, F.col("kafka_timestamp"))
    return typed.problem(field, text, typed.value(field, text))


def _last_batch(lake: Lakehouse, table: Table, app: str) -> int:
    whole = Txn(f"{app}:{table.name}", 0)
    return max(lake.transaction(table, one.app) for one in (whole, whole.step(KNOWN)))


def _snapshot(lake: Lakehouse, table: Table, version: int) -> Snapshot:
    path = lake.path(table)

    def rows() -> DataFrame:
        return lake.frame(table, version)

    def ask(sql: str) -> list[dict[str, Any]]:
        return pa.table(QueryBuilder().register("t", DeltaTable(path, version=version)).execute(sql).read_all()).to_pylist()

    return Snapshot(table, version, rows, ask)
