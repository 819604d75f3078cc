"""A watcher in the micro-batch: it sees what each batch changed, once, and when it fails the others go on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyspark.sql import SparkSession

from day import STREAMED, Day, settings_for
from promolake.alerts.rules import load
from promolake.alerts.tables import ALERTS
from promolake.alerts.watch import AlertWatch, rows_of
from promolake.cli.backtesting import replayed, span
from promolake.cli.watching import sources
from promolake.core.errors import FlowFailed
from promolake.core.flow import Hallway
from promolake.core.table import Column, Table
from promolake.engine import kafka, scan, supervision
from promolake.engine.lakehouse import Lakehouse
from promolake.engine.ledger import LEDGER
from promolake.engine.runner import Runner, chosen
from promolake.gold.requests_per_ip_per_minute import TABLE
from promolake.gold.sales_per_product_per_minute import TABLE as SALES

FLOWS = chosen(STREAMED, [TABLE.name])
pytestmark = pytest.mark.spark


class Notes:
    """Writes down what it is shown."""

    name = "ops.notes"
    tables = (Table("ops.notes", "What a watcher saw.", (Column("minute", "timestamp", "A minute that changed."),)),)

    def __init__(self, failing: bool = False) -> None:
        self.seen: list[tuple[dict[str, list[datetime]], datetime]] = []
        self.failing = failing
        self.forgot = 0
        self.idled: list[tuple[datetime, Any]] = []

    def look(self, lake: Any, changed: Mapping[str, list[datetime]], taken_at: datetime, txn: Callable[[Table], Any]) -> None:
        self.seen.append((dict(changed), taken_at))
        if self.failing:
            raise RuntimeError("the watcher's own fault")
        rows = pa.table({"minute": pa.array(changed[TABLE.name], pa.timestamp("us", "UTC"))})
        assert lake.append(self.tables[0], rows, txn(self.tables[0])) == bool(rows)

    def idle(self, lake: Any, now: datetime, txn: Callable[[Table], Any]) -> None:
        self.idled.append((now, txn(self.tables[0])))

    def forget(self) -> None:
        self.forgot += 1


def run(home: Path, day: Day, spark: SparkSession, watcher: Any, records_per_batch: int = 20, flows: Hallway = FLOWS) -> Lakehouse:
    settings = settings_for(home, records_per_batch)
    Runner(settings, day.bootstrap, spark, flows, "main", print, [watcher]).run(once=True)
    return Lakehouse(settings.lake)


def test_a_watcher_sees_every_minute_that_changed_and_the_ledger_after_gold_holds_it(day: Day, spark: SparkSession, tmp_path: Path) -> None:
    notes = Notes()
    lake = run(tmp_path, day, spark, notes)
    assert len(notes.seen) > 2
    shown = {minute for changed, _ in notes.seen for minute in changed[TABLE.name]}
    assert shown == {minute.astimezone(UTC) for minute in pc.unique(lake.read(TABLE, ("window_start",))["window_start"]).to_pylist()}
    for changed, taken_at in notes.seen:
        assert changed[LEDGER.name] == [taken_at.replace(second=0, microsecond=0)]
    noted = lake.read(Notes.tables[0], ("minute",)).num_rows
    assert noted == sum(len(changed[TABLE.name]) for changed, _ in notes.seen)


def test_a_watcher_that_always_fails_is_left_out_and_gold_is_whole(
    day: Day, spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "backoff", lambda waits: 0.0)
    undisturbed = run(tmp_path / "calm", day, spark, Notes())
    notes = Notes(failing=True)
    with pytest.raises(FlowFailed, match=r"ops\.notes"):
        run(tmp_path / "failing", day, spark, notes)
    assert len(notes.seen) == 3 == notes.forgot, "tried three times with the same batch"
    assert notes.seen[0] == notes.seen[1] == notes.seen[2]
    order = [(name, "ascending") for name in TABLE.grain]
    columns = TABLE.column_names
    failing = Lakehouse(tmp_path / "failing" / "lake").read(TABLE, columns).sort_by(order)
    assert failing == undisturbed.read(TABLE, columns).sort_by(order)


def test_while_nothing_comes_a_watcher_looks_by_the_clock_between_batches(
    day: Day, spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until: Callable[..., None]
) -> None:
    monkeypatch.setattr(scan, "IDLE_SECONDS", 0.2)
    monkeypatch.setattr(scan, "WARM_UP_SECONDS", 0)
    notes = Notes()
    runner = Runner(settings_for(tmp_path), day.bootstrap, spark, FLOWS, "main", print, [notes])
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(runner.run)
        try:
            until(lambda: notes.seen and len(notes.idled) > 3, 60)
        finally:
            runner.stop()
        running.result(timeout=60)
    for now, txn in notes.idled:
        assert now.tzinfo is UTC
        assert (txn.app, txn.version) == ("main#idle", int(now.timestamp() // 60))


def test_while_the_broker_is_away_a_watcher_looks_by_the_clock_too(
    day: Day, spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until: Callable[..., None]
) -> None:
    """That is when every source is silent, and no query runs that could tell."""
    monkeypatch.setattr(scan, "IDLE_SECONDS", 0.2)
    monkeypatch.setattr(scan, "WARM_UP_SECONDS", 0)
    answers = iter(["it answers when the run begins, and then no more"])
    monkeypatch.setattr(kafka, "cluster_id", lambda bootstrap: next(answers, None))
    notes = Notes()
    runner = Runner(settings_for(tmp_path), day.bootstrap, spark, FLOWS, "main", print, [notes])
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(runner.run)
        try:
            until(lambda: len(notes.idled) > 2, 60)
        finally:
            runner.stop()
        running.result(timeout=60)
    assert notes.seen == [], "the query was never started"


RULES = """
groups:
  - name: g
    rules:
      - {alert: Busy, table: gold.requests_per_ip_per_minute, by: [ip], value: sum(request_count), expr: value >= 1, early: true}
      - {alert: Leader, table: gold.top_products, over: 5m, where: "span = '5 minutes' AND ranked_by = 'amount' AND rank <= 2",
         by: [product_id], value: max(sales_amount), expr: value > 10}
route: {receiver: none}
receivers: [{name: none, channels: []}]
"""


def test_records_in_kafka_become_alerts_whose_sql_shows_the_rows_behind_them(day: Day, spark: SparkSession, tmp_path: Path) -> None:
    file = tmp_path / "alerts.yaml"
    file.write_text(RULES)
    lake = run(tmp_path / "home", day, spark, AlertWatch(file, sources(), sources(), print))
    alerts = lake.read(ALERTS, ALERTS.column_names).to_pylist()
    assert len({row["alert_id"] for row in alerts}) == len(alerts) > 0
    gold = defaultdict(int)
    for row in lake.read(TABLE, ("ip", "window_start", "request_count")).to_pylist():
        gold[f"ip = '{row['ip']}'", row["window_start"]] += row["request_count"]
    for row in alerts:
        if row["status"] == "firing" and row["alert"] == "Busy":
            assert gold[row["rows_sql"].rpartition(" AND ")[2], row["starts_at"]] >= row["value"] >= 1


def test_what_a_view_said_while_records_came_from_kafka_a_backtest_over_the_lake_says_again(
    day: Day, spark: SparkSession, tmp_path: Path
) -> None:
    """All in one batch: no row comes after the rule has done with its minute, which is the one thing that may tell the two apart."""
    file = tmp_path / "alerts.yaml"
    file.write_text(RULES)
    lake = run(tmp_path / "home", day, spark, AlertWatch(file, sources(), sources(), print), day.sent, chosen(STREAMED, [SALES.name]))
    told = {row["alert_id"]: row["value"] for row in lake.read(ALERTS, ALERTS.column_names).to_pylist() if row["alert"] == "Leader"}
    config, view = load(file), sources()["gold.top_products"]
    _, rule = config.rules
    low, high = span(lake, view, None, None)
    again = list(replayed(rule, config, view, low, high - timedelta(minutes=1), rows_of(lake)))
    assert told == {one.id: one.value for one in again} != {}
    assert {one.status for one in again} == {"firing", "resolved"}
