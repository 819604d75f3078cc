"""ERROR events are sent on within milliseconds by a real-time query, and a micro-batch sees to it that none is missing."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from day import run_once, settings_for
from engine.test_runner import descendants
from frames import record, records_frame
from promolake.core.errors import BrokerAway
from promolake.engine import kafka
from promolake.engine.lakehouse import Lakehouse
from promolake.engine.lane import Lane, forwarded, standing_tasks
from promolake.engine.ledger import FORWARDS
from promolake.engine.read_back import ReadBack, Sent
from promolake.engine.runner import Runner, chosen
from promolake.gold import forwarded_errors
from promolake.hallway import HALLWAY
from promolake.local.broker import Broker
from promolake.local.processes import Child
from promolake.settings import Errors
from promolake.silver import log_events
from promolake.silver.entity import parsed, silver_rows
from promolake.sources.logs import TOPIC

FLOWS = chosen(HALLWAY, ["forwarded_errors"])
ERRORS = forwarded_errors.TOPIC
TRACE = "2026-11-11 00:00:00.120 [http-1] ERROR com.shop.Payment - refused for 13812345678, name=Li Lei\n\tat x.Y(Y.java:1)\n\tat x.Z"
LINES = (
    *TOPIC.examples,
    TRACE,
    "2026-11-11 00:00:01 [http-1] INFO com.shop.Payment - an ERROR was handled",
    "2026-11-11 00:00:02 FATAL com.shop.Payment - out of memory",
    '{"timestamp":"2026-11-11T00:00:00Z","level":"SEVERE","service":"pay","message":"mail li.lei@example.com"}',
    "no time ERROR at all",
    b"\xff\xfe ERROR",
    b"",
    None,
)

# --- what it sends ---------------------------------------------------------------------------------------------------------------


@pytest.mark.spark
@pytest.mark.parametrize("levels", [("ERROR",), ("ERROR", "FATAL", "WARN"), ()])
def test_the_lane_chooses_and_words_what_the_micro_batch_does_to_the_byte(spark: SparkSession, levels: Sequence[str]) -> None:
    lines = [record(TOPIC, line, key=b"shop", headers=(("event_id", b"h-1"),) if n % 2 else ()) for n, line in enumerate(LINES)]
    records = records_frame(spark, lines)
    micro_batch = forwarded_errors.FLOW.function(silver_rows(parsed(records, log_events.FLOW), log_events.FLOW), levels).collect()
    bronze = records.select("topic", "partition", "offset", "kafka_timestamp", "key", "value", "headers")
    lane = forwarded(bronze, log_events.FLOW, forwarded_errors.FLOW, levels)
    assert sorted(lane.collect()) == sorted(micro_batch)
    assert len(micro_batch) == {1: 5, 3: 7, 0: 0}[len(levels)]


@pytest.mark.spark
def test_the_lanes_plan_has_no_shuffle_no_join_and_nothing_of_python(spark: SparkSession) -> None:
    records = records_frame(spark, [record(TOPIC, TRACE)]).drop("hmac_inner", "hmac_outer", "ingested_at")
    plan = forwarded(records, log_events.FLOW, forwarded_errors.FLOW, ["ERROR"])._jdf.queryExecution().executedPlan().toString()
    assert "Filter" in plan
    plan = plan[: plan.index("BroadcastNestedLoopJoin")]  # by which the pads came to the test's records
    assert [word for word in ("Exchange", "Join", "Python", "Arrow", "Sort", "Aggregate") if word in plan] == []


# --- a lane by itself ------------------------------------------------------------------------------------------------------------


class Town:
    """A broker of its own, as topics have fixed names; what is sent to app.logs and what came to app.logs.errors."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        kafka.ensure_topics(bootstrap, [TOPIC.name, ERRORS])
        self._producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all")
        self._consumer = KafkaConsumer(ERRORS, bootstrap_servers=bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=500)
        self.came: dict[str, list[bytes]] = {}

    def log(self, line: str | bytes | None, event_id: str) -> None:
        value = line.encode() if isinstance(line, str) else line
        self._producer.send(TOPIC.name, value=value, key=b"shop", headers=[("event_id", event_id.encode())]).get(timeout=10)

    def arrived(self, event_id: str) -> bool:
        for places in self._consumer.poll(timeout_ms=50).values():
            for message in places:
                self.came.setdefault(message.key.decode(), []).append(message.value)
        return event_id in self.came

    def forwards_now(self, prefix: str, until: Callable[..., None]) -> None:
        """Returns when somebody forwards what is logged: errors `prefix`-n are logged until one arrives."""
        ids: list[str] = []

        def one_came() -> bool:
            ids.append(f"{prefix}-{len(ids)}")
            self.log(TRACE, ids[-1])
            return any(self.arrived(event_id) for event_id in ids)

        until(one_came, 60)

    def close(self) -> None:
        self._producer.close()
        self._consumer.close()


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    own = Broker(tmp_path_factory.mktemp("town"))
    own.start(print, tied=True)
    town = Town(own.status().bootstrap)
    yield town
    town.close()
    own.stop()


def lane_of(spark: SparkSession, town: Town, home: Path, say: Callable[[str], None] = print) -> Lane:
    return Lane(forwarded_errors.FLOW, log_events.FLOW, town.bootstrap, ["ERROR"], spark, home / "lane", say)


@pytest.mark.spark
def test_an_error_arrives_though_no_scan_runs_masked_and_as_the_bytes_a_micro_batch_sends(
    spark: SparkSession, town: Town, tmp_path: Path, until
) -> None:
    lane = lane_of(spark, town, tmp_path)
    try:
        lane.tend()
        town.forwards_now("alone", until)
        for n, line in enumerate(LINES):
            town.log(line, f"line-{n}")
        town.log(TRACE, "last-0")
        town.log(TRACE, "last-1")  # the partition is the key's: what was logged before has come before
        until(lambda: town.arrived("last-1"))
        kept = b"".join(file.read_bytes() for file in (tmp_path / "lane").rglob("*") if file.is_file())
    finally:
        lane.end()
    by_lane = {key: values for key, values in town.came.items() if key.startswith(("line", "last"))}
    assert set(by_lane) == {"line-0", "line-1", "line-2", "line-4", "line-7", "last-0", "last-1"}
    assert [len(values) for values in by_lane.values()] == [1] * len(by_lane)
    event = json.loads(by_lane["line-4"][0])
    assert event["message"].endswith("refused for 138****5678, name=***\n\tat x.Y(Y.java:1)\n\tat x.Z")
    assert b"Li Lei" not in kept
    assert b"13812345678" not in kept
    assert not (tmp_path / "lane").exists()
    run_once(settings_for(tmp_path / "home"), town.bootstrap, spark, FLOWS)
    until(lambda: town.arrived("last-1") and all(len(town.came[key]) == 2 for key in by_lane))
    assert {key: len(set(town.came[key])) for key in by_lane} == dict.fromkeys(by_lane, 1)


@pytest.mark.spark
def test_a_lane_without_slots_of_its_own_does_not_starve_the_scan_but_says_what_it_lacks(
    spark: SparkSession, town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(kafka, "end_offsets", lambda *_: {(TOPIC.name, partition): 0 for partition in range(3)})
    lane = lane_of(spark, town, tmp_path, said.append)
    lane.tend()
    lane.tend()
    assert not lane.is_running
    assert said == [
        "forwarded_errors_lane does not run: it keeps a task for each of the 3 partitions of app.logs, and Spark has 2 slots beyond "
        "spark.default.parallelism. The micro-batches send instead"
    ]


def test_a_lane_wants_a_slot_for_each_partition_of_its_topic(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    assert standing_tasks(FLOWS, town.bootstrap, 7) == 2
    assert standing_tasks(chosen(HALLWAY, ["errors_per_minute"]), town.bootstrap, 7) == 0
    monkeypatch.setattr(kafka, "end_offsets", lambda *_: {})
    assert standing_tasks(FLOWS, town.bootstrap, 7) == 7


@pytest.mark.spark
def test_a_lane_that_fails_says_so_once_and_is_started_again_after_a_pause(
    spark: SparkSession, town: Town, tmp_path: Path, until, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    starts: list[float] = []
    started = Lane._started

    def failing_twice(lane: Lane):
        starts.append(time.monotonic())
        if len(starts) <= 2:
            raise BrokerAway("No Kafka broker answers.", "")
        return started(lane)

    monkeypatch.setattr(Lane, "_started", failing_twice)
    lane = lane_of(spark, town, tmp_path, said.append)
    try:
        until(lambda: lane.tend() or lane.is_running, 30)
        assert starts[1] - starts[0] >= 0.8
        assert starts[2] - starts[1] >= 1.6
        lane._query.stop()
        until(lambda: lane.tend() or (len(starts) == 4 and lane.is_running), 30)
        town.forwards_now("again", until)
    finally:
        lane.end()
    assert said == ["forwarded_errors_lane failed: BrokerAway. The micro-batches send until it runs again"]


@pytest.mark.spark
def test_a_lane_spark_refuses_is_given_up_after_three_tries(
    spark: SparkSession, town: Town, tmp_path: Path, until, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def refused(lane: Lane):
        raise PySparkException("an operator is not in the allow list")

    monkeypatch.setattr(Lane, "_started", refused)
    lane = lane_of(spark, town, tmp_path, said.append)
    until(lambda: lane.tend() or len(said) == 2, 30)
    assert said[1] == "STOPPED: forwarded_errors_lane (PySparkException), until the next start. The micro-batches send instead"
    lane.tend()
    assert not lane.is_running


# --- a whole run -----------------------------------------------------------------------------------------------------------------


@pytest.mark.spark
def test_what_a_killed_lane_did_not_send_the_micro_batches_do_and_without_them_it_is_lost(
    spark: SparkSession, town: Town, tmp_path: Path, until, monkeypatch: pytest.MonkeyPatch
) -> None:
    lanes: list[Lane] = []
    broken = threading.Event()
    said: list[str] = []
    started = Lane._started

    def start(lane: Lane):
        lanes.append(lane)
        if broken.is_set():
            raise BrokerAway("No Kafka broker answers.", "")
        return started(lane)

    monkeypatch.setattr(Lane, "_started", start)
    settings, lake = settings_for(tmp_path).model_copy(update={"errors": Errors(lane="realtime")}), Lakehouse(tmp_path / "lake")
    runner = Runner(settings, town.bootstrap, spark, FLOWS, "main", said.append)
    run = threading.Thread(target=runner.run, daemon=True)
    run.start()

    def booked() -> dict[str, int]:
        rows = lake.read(FORWARDS, FORWARDS.column_names).to_pylist() if lake.exists(FORWARDS) else []
        return {name: sum(row[name] for row in rows) for name in ("due_count", "sent_count")}

    try:
        until(lambda: any(line.startswith("running") for line in said) and lanes[0].is_running, 120)
        town.forwards_now("whole", until)
        broken.set()
        lanes[0]._query.stop()
        until(lambda: len(said) > 2)
        before = booked()
        town.log(TRACE, "orphan-0")
        until(lambda: town.arrived("orphan-0"), 60)
        until(lambda: booked()["sent_count"] > before["sent_count"])
        missing, trusted = ReadBack.missing, threading.Event()

        def trusting(read_back: ReadBack, records: Sequence[Sent], *rest: Any) -> list[Sent]:
            """Takes lost-0 for sent."""
            if any(key == b"lost-0" for key, _ in records):
                trusted.set()
            return [record for record in missing(read_back, records, *rest) if record[0] != b"lost-0"]

        monkeypatch.setattr(ReadBack, "missing", trusting)
        town.log(TRACE, "lost-0")
        until(trusted.is_set, 60)
        town.log(TRACE, "orphan-1")
        until(lambda: town.arrived("orphan-1"), 60)
        assert not town.arrived("lost-0")
        broken.clear()
        until(lambda: lanes[0].is_running, 60)
        town.forwards_now("recovered", until)
    finally:
        runner.stop()
        run.join(60)
    assert not run.is_alive()
    assert not lanes[0].is_running
    assert [line for line in said if "lane" in line] == [
        "forwarded_errors_lane failed: InterruptedError. The micro-batches send until it runs again"
    ]
    assert booked()["due_count"] > booked()["sent_count"] >= 2


@pytest.mark.spark
def test_a_run_has_slots_for_its_lane_and_ends_it_in_order(town: Town, tmp_path: Path, until) -> None:
    chosen_ones = {"PROMOLAKE_KAFKA__BOOTSTRAP": town.bootstrap, "PROMOLAKE_ERRORS__LANE": "realtime"}
    environment = os.environ | chosen_ones | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    run = [sys.executable, "-m", "promolake.cli", "--home", str(tmp_path), "run", "--only=forwarded_errors"]
    child = Child(run, tmp_path / "run.log", tied=True, env=environment)
    until(lambda: (tmp_path / "spool" / "forwarded_errors_lane" / "sources").exists() or child.exit_code is not None, 120)
    town.forwards_now("child", until)  # before the first micro-batch
    assert not any((tmp_path / "checkpoints" / "main" / "commits").glob("[0-9]*"))
    family = descendants(child.process.pid)
    os.kill(child.process.pid, signal.SIGTERM)
    until(lambda: child.exit_code is not None, 60)
    assert child.exit_code == 0, (tmp_path / "run.log").read_text()
    assert "lane" not in (tmp_path / "run.log").read_text()
    until(lambda: not any(process.alive for process in family))
    assert not (tmp_path / "spool" / "forwarded_errors_lane").exists()
