"""Which flows run together, who may run them, and how a run ends."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pyarrow.compute as pc
import pytest
from pyspark.sql import SparkSession

from day import STREAMED, Day, assert_ranges_meet, run_once, sent, settings_for
from promolake.core.errors import BrokerAway, HomeInUse, PromolakeError, SettingsError
from promolake.core.flow import Hallway
from promolake.engine import kafka, supervision
from promolake.engine.forwarding import Forwarder
from promolake.engine.lakehouse import Lakehouse
from promolake.engine.ledger import FORWARDS, LEDGER
from promolake.engine.lock import writing
from promolake.engine.query_log import QueryLog
from promolake.engine.runner import Runner, chosen
from promolake.hallway import HALLWAY
from promolake.local.processes import Child, Process
from promolake.settings import Kafka, Settings

NOBODY = "127.0.0.1:1"


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No broker answers, and says so at once: that a real one that is away is found out is a law of engine/kafka.py."""
    monkeypatch.setattr(kafka, "cluster_id", lambda bootstrap: None)


def names(flows: Hallway) -> set[str]:
    return {*(table.name for table in flows.tables), *(forward.name for forward in flows.forwards)}


# --- what is chosen --------------------------------------------------------------------------------------------------------------


def test_nothing_named_is_everything() -> None:
    assert chosen(HALLWAY, []) is HALLWAY
    assert names(chosen(HALLWAY, ["*"])) == names(HALLWAY)


@pytest.mark.parametrize("name", ["gold.sales_per_product_per_minute", "sales_per_product_per_minute", "sales_per_*"])
def test_a_metric_brings_the_ingest_of_its_topic_along(name: str) -> None:
    found = chosen(HALLWAY, [name])
    assert names(found) == {"bronze.shop_orders", "silver.orders", "silver.quarantine_orders", "gold.sales_per_product_per_minute"}


def test_a_metric_of_several_topics_brings_them_all() -> None:
    assert [flow.topic.name for flow in chosen(HALLWAY, ["funnel_per_minute"]).ingests] == ["shop.searches", "shop.views", "shop.orders"]


def test_several_names_and_patterns_are_united_in_the_order_of_the_hallway() -> None:
    found = chosen(HALLWAY, ["quarantine_views", "gold.*_per_ip_*", "forwarded_errors"])
    assert [flow.table.name for flow in found.ingests] == ["silver.views", "silver.requests", "silver.log_events"]
    assert [flow.table.name for flow in found.metrics] == ["gold.requests_per_ip_per_minute"]
    assert [flow.name for flow in found.forwards] == ["forwarded_errors"]
    assert found.joins == ()


def test_a_join_stands_alone_over_silver() -> None:
    assert names(chosen(HALLWAY, ["attributed_orders"])) == {"gold.attributed_orders"}


def test_an_unknown_name_is_refused_with_the_flows_there_are() -> None:
    with pytest.raises(SettingsError) as refused:
        chosen(HALLWAY, ["gmv_per_minute", "gmv_per_hour"])
    assert str(refused.value).startswith("There is no flow gmv_per_hour. Flows: bronze.shop_searches, ")
    assert all(name in refused.value.remedy for name in names(HALLWAY))


# --- who may run -----------------------------------------------------------------------------------------------------------------


@pytest.mark.spark
def test_a_home_another_process_writes_is_refused_at_once_with_its_pid(spark: SparkSession, tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    orders = next(table for table in STREAMED.tables if table.name == "silver.orders")
    with writing(tmp_path, [orders]), pytest.raises(HomeInUse, match=rf"Process {os.getpid()} writes silver\.orders in {tmp_path}"):
        Runner(settings, NOBODY, spark, STREAMED, "main", print).run(once=True)
    assert not settings.lake.exists()


@pytest.mark.spark
def test_a_table_fed_by_one_query_is_refused_to_another(spark: SparkSession, tmp_path: Path, nobody: None) -> None:
    settings = settings_for(tmp_path).model_copy(update={"kafka": Kafka(patience_seconds=0)})

    def run(query: str, flows: Hallway) -> None:
        Runner(settings, NOBODY, spark, flows, query, print).run(once=True)

    with pytest.raises(BrokerAway):
        run("shop", chosen(STREAMED, ["gmv_per_minute"]))
    with pytest.raises(SettingsError, match=r"bronze\.shop_orders is fed by the query shop, not by main.*same --query"):
        run("main", STREAMED)
    with pytest.raises(BrokerAway):
        run("site", chosen(STREAMED, ["traffic_per_minute"]))
    fed = json.loads((tmp_path / "state" / "feeds.json").read_text())
    assert fed["gold.gmv_per_minute"] == "shop"
    assert fed["gold.traffic_per_minute"] == "site"
    assert "silver.views" not in fed


@pytest.mark.spark
@pytest.mark.parametrize("once", [True, False])
def test_a_broker_that_is_away_is_waited_for_and_then_named(spark: SparkSession, tmp_path: Path, nobody: None, once: bool) -> None:
    said: list[str] = []
    settings = settings_for(tmp_path).model_copy(update={"kafka": Kafka(patience_seconds=1)})
    with pytest.raises(BrokerAway, match=r"No Kafka broker answers at 127\.0\.0\.1:1\."):
        Runner(settings, NOBODY, spark, STREAMED, "main", said.append).run(once)
    assert said == [f"waiting for the Kafka broker at {NOBODY} (0 s)"]


@pytest.mark.spark
@pytest.mark.parametrize("once", [True, False])
def test_a_run_that_waits_for_its_broker_can_be_stopped(spark: SparkSession, tmp_path: Path, nobody: None, once: bool) -> None:
    runner = Runner(settings_for(tmp_path), NOBODY, spark, STREAMED, "main", lambda line: runner.stop())
    run = threading.Thread(target=runner.run, args=(once,), daemon=True)
    run.start()
    run.join(20)
    assert not run.is_alive()


@pytest.mark.spark
@pytest.mark.broker
def test_a_batch_that_a_stop_does_not_wait_for_is_named_and_the_next_start_takes_it(
    day: Day, spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    settings, flows = settings_for(tmp_path), chosen(STREAMED, ["forwarded_errors"])
    runner = Runner(settings, day.bootstrap, spark, flows, "main", said.append)

    def stopped_while_the_broker_is_away(*_: object) -> int:
        runner.stop()
        raise BrokerAway("No Kafka broker answers.", "")

    with monkeypatch.context() as away:
        away.setattr(Forwarder, "send", stopped_while_the_broker_is_away)
        runner.run(once=True)
    assert said[1:] == ["batch 0 of main is left to the next start: BrokerAway"]
    assert QueryLog(settings.checkpoint("main")).last == 0
    run_once(settings, day.bootstrap, spark, flows)
    lake = Lakehouse(settings.lake)
    due = lake.read(flows.forwards[0].reads, ["event_id"], "level = 'ERROR'").num_rows
    assert pc.sum(lake.read(FORWARDS, ["due_count"])["due_count"]).as_py() == due > 0


# --- how it ends -----------------------------------------------------------------------------------------------------------------


def descendants(pid: int) -> list[Process]:
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found, level = [], {pid}
    while level := {child for child, parent in parents.items() if parent in level}:
        found += [process for process in map(Process.of, level) if process]
    return found


def batches(settings: Settings, kind: str) -> set[int]:
    return {int(file.name) for file in (settings.checkpoint("main") / kind).glob("[0-9]*")}


@pytest.mark.spark
@pytest.mark.broker
def test_sigterm_finishes_the_batch_in_hand_and_the_next_run_goes_on(bootstrap: str, spark: SparkSession, tmp_path: Path, until) -> None:
    settings, only = settings_for(tmp_path), ["traffic_per_minute", "attributed_orders"]  # a scan and a join
    environment = dict(os.environ) | {"PROMOLAKE_KAFKA__BOOTSTRAP": bootstrap, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    run = [sys.executable, "-m", "promolake.cli", "--home", str(tmp_path), "run", *(f"--only={name}" for name in only)]
    child = Child(run, tmp_path / "run.log", tied=True, env=environment)
    sent(bootstrap, per_topic=5, seed=1)
    until(lambda: batches(settings, "commits") or child.exit_code is not None, 300)
    taken = len(batches(settings, "commits"))
    sending = threading.Thread(target=sent, args=(bootstrap, 200, 2))
    sending.start()
    until(lambda: len(batches(settings, "commits")) > taken, 60)
    family = descendants(child.process.pid)
    assert family, "no JVM"
    os.killpg(child.process.pid, signal.SIGTERM)  # the JVM is sent it, too, as by systemd and `timeout`
    until(lambda: child.exit_code is not None, 30)
    sending.join()
    assert child.exit_code == 0, (tmp_path / "run.log").read_text()
    assert "Traceback" not in (tmp_path / "run.log").read_text()
    assert (tmp_path / "run.log").read_text().splitlines()[-1] == "stopped"
    until(lambda: not any(process.alive for process in family))
    flows, lake = chosen(HALLWAY, only), Lakehouse(settings.lake)
    (site,) = flows.ingests
    # Every batch that was begun was finished: the ledger is its last commit.
    assert lake.read(site.bronze, ["offset"]).num_rows == pc.sum(lake.read(LEDGER, ["read_count"])["read_count"]).as_py() > 0
    run_once(settings, bootstrap, spark, flows)
    expected = [(partition, n) for (_, partition), end in kafka.end_offsets(bootstrap, [site.topic.name]).items() for n in range(end)]
    rows = lake.read(site.bronze, ["partition", "offset"]).to_pylist()
    assert sorted((row["partition"], row["offset"]) for row in rows) == sorted(expected)
    assert pc.sum(lake.read(LEDGER, ["read_count"])["read_count"]).as_py() == len(expected)


@pytest.mark.spark
def test_two_queries_of_one_home_run_side_by_side_and_share_the_ledger(bootstrap: str, spark: SparkSession, tmp_path: Path) -> None:
    """What a cluster does with a job per query. The streams are bounded, so that both commit many batches at the same time."""
    sent(bootstrap, 120)
    settings = settings_for(tmp_path, records_per_batch=30)
    parts = {"shop": ["funnel_per_minute"], "machines": ["machine_metrics_per_minute", "errors_per_minute"]}
    runners = {
        name: Runner(settings, bootstrap, spark, replace(chosen(HALLWAY, flows), forwards=()), name, print) for name, flows in parts.items()
    }
    with ThreadPoolExecutor(2) as pool:
        for run in [pool.submit(runner.run, True) for runner in runners.values()]:
            run.result(timeout=300)
    lake = Lakehouse(settings.lake)
    ranges = [row for row in assert_ranges_meet(lake) if row["read_count"]]
    batches = {name: {row["batch_id"] for row in ranges if row["query"] == name} for name in parts}
    assert min(map(len, batches.values())) > 3, "too few batches to have met"
    turns = [row["query"] for row in sorted(ranges, key=lambda row: row["ingested_at"])]
    assert sum(a != b for a, b in pairwise(turns)) > 2, "they ran one after the other"
    for flow in (*runners["shop"]._flows.ingests, *runners["machines"]._flows.ingests):
        booked = sum(row["valid_count"] for row in ranges if row["topic"] == flow.topic.name)
        assert lake.read(flow.table, ("offset",)).num_rows == booked > 0


def test_a_join_alone_runs_until_it_is_stopped(spark: SparkSession, tmp_path: Path, until) -> None:
    said: list[str] = []
    runner = Runner(settings_for(tmp_path), NOBODY, spark, chosen(HALLWAY, ["attributed_orders"]), "joins", said.append)
    run = threading.Thread(target=runner.run, daemon=True)
    run.start()
    until(lambda: said or not run.is_alive(), 60)
    assert said == ["running 1 tables in 1 queries"]
    runner.stop()
    run.join(30)
    assert not run.is_alive()


@pytest.mark.spark
def test_what_a_start_that_died_left_in_a_checkpoint_keeps_no_query_from_its_first_batch(
    day: Day, spark: SparkSession, tmp_path: Path
) -> None:
    """A full disk or kill -9 before the first batch is planned leaves a half-written file; Spark refuses such a folder for ever."""
    settings = settings_for(tmp_path)
    for query in ("main", "attributed_orders"):
        for file in ("offsets/.0.half.tmp", "state/0/0/1.delta", "metadata"):
            half = settings.checkpoint(query) / file
            half.parent.mkdir(parents=True, exist_ok=True)
            half.write_text("")
        (settings.checkpoint(query) / "metadata").write_text(json.dumps({"id": "0f9b5c1e-7f6b-4d3c-9c7a-3a3a3a3a3a3a"}))
    run_once(settings, day.bootstrap, spark, replace(HALLWAY, forwards=()))
    lake = Lakehouse(settings.lake)
    assert QueryLog(settings.checkpoint("main")).last_done >= 0
    assert QueryLog(settings.checkpoint("attributed_orders")).last_done >= 0
    assert_ranges_meet(lake)


def test_a_query_that_cannot_start_is_given_up_with_a_clear_error_and_leaves_no_raw_records(
    day: Day, spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "backoff", lambda waits: 0.0)
    settings, flows = settings_for(tmp_path), chosen(STREAMED, ["sales_per_product_per_minute"])
    run_once(settings, day.bootstrap, spark, flows)
    assert not (tmp_path / "spool" / "main").exists()
    (settings.checkpoint("main") / "metadata").unlink()
    with pytest.raises(PromolakeError):
        run_once(settings, day.bootstrap, spark, flows)
