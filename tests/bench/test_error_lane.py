"""How fast an ERROR event is seen elsewhere, with the lane and without it, beside the whole hallway at work; and what the lane costs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import pytest
from kafka import KafkaConsumer, KafkaProducer

from bench.latency import until
from bench.measuring import cpu_seconds, tree
from bench.running import await_line, started
from promolake.cli.freshness import quantile
from promolake.engine import kafka
from promolake.engine.query_log import QueryLog
from promolake.gold.forwarded_errors import TOPIC as ERRORS
from promolake.hallway import HALLWAY
from promolake.local.broker import Broker

LINES_PER_SECOND, ERROR_EVERY = 200, 4
OTHERS_PER_SECOND = int(os.environ.get("OTHERS", "300"))  # events of all six topics beside them
ROUNDS = int(os.environ.get("ROUNDS", "2"))  # each with the lane and without
WARM_UP_SECONDS, SECONDS = 20, int(os.environ.get("SECONDS", "60"))
GOAL_P50_MS, GOAL_P99_MS = 10.0, 250.0
ALLOWED_GROWTH = 1.5  # of a micro-batch beside the lane, on two cores with nothing to spare


@dataclass
class Round:
    """Milliseconds from sending to arrival, seconds of each micro-batch, and CPU seconds of the run per second."""

    latencies: list[float] = field(default_factory=list)
    batches: list[float] = field(default_factory=list)
    cores: float = 0.0
    lost: int = 0


@pytest.mark.bench
def test_an_error_is_seen_within_milliseconds_and_the_scan_goes_on_beside_it(tmp_path: Path) -> None:
    found: dict[str, Round] = {"realtime": Round(), "micro-batch": Round()}
    for number in range(ROUNDS):
        for mode, so_far in [*found.items()][:: -1 if number % 2 else 1]:  # neither has the better place
            one = measured(tmp_path / f"{mode}-{number}", mode)
            so_far.latencies += one.latencies
            so_far.batches += one.batches
            so_far.cores += one.cores / ROUNDS
            so_far.lost += one.lost
            print(f"\n{told(mode, one)}")
    print("\n" + "\n".join(told(mode, one) for mode, one in found.items()))
    lane = found["realtime"]
    assert [one.lost for one in found.values()] == [0, 0]
    assert quantile(sorted(lane.latencies), 0.5) <= GOAL_P50_MS
    assert quantile(sorted(lane.latencies), 0.99) <= GOAL_P99_MS
    assert median(lane.batches) <= median(found["micro-batch"].batches) * ALLOWED_GROWTH


def told(mode: str, one: Round) -> str:
    p50, p99 = (quantile(sorted(one.latencies), q) for q in (0.5, 0.99))
    seen = f"{len(one.latencies)} errors: p50 {p50:.1f}, p99 {p99:.1f}, max {max(one.latencies):.1f} ms, {one.lost} lost"
    return f"{mode}: {seen}; micro-batch {median(one.batches):.3f} s ({len(one.batches)}), {one.cores:.2f} cores"


def measured(home: Path, mode: str) -> Round:
    """One run of everything on a broker of its own, from a clean home."""
    broker = Broker(home / "broker")
    broker.start(print, tied=True)
    try:
        bootstrap = broker.status().bootstrap
        kafka.ensure_topics(bootstrap, [*(flow.topic.name for flow in HALLWAY.ingests), ERRORS])
        flows = started(home, bootstrap, "run", PROMOLAKE_ERRORS__LANE=mode)
        await_line(home / "run.log", "running", flows)
        others = started(home, bootstrap, "simulate", "--rate", str(OTHERS_PER_SECOND))
        with arrivals(bootstrap) as came:
            sent = logged(bootstrap, WARM_UP_SECONDS)
            since, cpu, began = time.time(), cpu_seconds(tree(flows.process.pid)), time.monotonic()
            warm = len(sent)
            sent += logged(bootstrap, SECONDS)
            cores = (cpu_seconds(tree(flows.process.pid)) - cpu) / (time.monotonic() - began)
            seconds = batch_seconds(home, since)
            until(lambda: all(one in came for one in sent), 60)
        others.stop()
        flows.stop(60)
        return Round([(came[one] - int(one)) / 1e6 for one in sent[warm:] if one in came], seconds, cores, len(set(sent) - set(came)))
    finally:
        broker.stop()


def logged(bootstrap: str, seconds: float) -> list[str]:
    """Logs LINES_PER_SECOND, at the times they are due whatever becomes of them; returns the ids of the errors: when each was sent, ns."""
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all")
    sent: list[str] = []
    began = time.monotonic()
    for n in range(int(seconds * LINES_PER_SECOND)):
        time.sleep(max(0.0, began + n / LINES_PER_SECOND - time.monotonic()))
        is_error = n % ERROR_EVERY == 0
        now = time.time_ns()
        level = "ERROR" if is_error else "INFO"
        line = f"2026-11-11 00:00:00.120 [http-{n}] {level} com.shop.Payment - refused 13812345678\n\tat x.Y(Y.java:1)"
        producer.send("app.logs", value=line.encode(), key=b"shop-%d" % (n % 8), headers=[("event_id", str(now).encode())])
        if is_error:
            sent.append(str(now))
    producer.close()
    return sent


@contextmanager
def arrivals(bootstrap: str) -> Iterator[dict[str, int]]:
    """When each key first came to the topic of the errors, in ns."""
    came: dict[str, int] = {}
    over = threading.Event()
    consumer = KafkaConsumer(ERRORS, bootstrap_servers=bootstrap, auto_offset_reset="earliest")

    def watch() -> None:
        while not over.is_set():
            for messages in consumer.poll(timeout_ms=200).values():
                now = time.time_ns()
                for message in messages:
                    came.setdefault(message.key.decode(), now)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield came
    finally:
        over.set()
        thread.join()
        consumer.close()


def batch_seconds(home: Path, since: float) -> list[float]:
    """From a batch's plan to its commit, of those planned since then (epoch seconds) which Spark still remembers: the last hundred."""
    log = QueryLog(home / "checkpoints" / "main")
    found = []
    for n in sorted(log.commits):
        with suppress(FileNotFoundError):  # forgotten meanwhile
            planned = log.offsets_file(n).stat().st_mtime
            found += [log.commits_file(n).stat().st_mtime - planned] if planned >= since else []
    return found
