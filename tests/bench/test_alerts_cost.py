"""What the alerts cost the stream: the same records through the same flows, with and without them, run by run in turn."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from statistics import median

import pytest
from pyspark.sql import SparkSession

from day import START, STREAMED, settings_for
from promolake.alerts.watch import AlertWatch
from promolake.cli.alerting import sources
from promolake.engine import kafka
from promolake.engine.query_log import QueryLog
from promolake.engine.runner import Runner
from promolake.hallway import HALLWAY
from promolake.local.broker import Broker
from promolake.producers.promotion import PromotionDay
from promolake.producers.sending import Sender

RECORDS, PER_BATCH, PAIRS = 30_000, 1_000, 3
COLD = 5  # batches of each run that are left out
ALLOWED_GROWTH = 1.10


@pytest.mark.bench
def test_alerts_make_a_micro_batch_less_than_a_tenth_longer(spark: SparkSession, tmp_path: Path) -> None:
    """Median batch time, from a batch's plan to its commit, of the shipped rules over the hallway's metrics."""
    broker = Broker(tmp_path / "broker")
    broker.start(print, tied=True)
    try:
        bootstrap = broker.status().bootstrap
        kafka.ensure_topics(bootstrap, [flow.topic.name for flow in HALLWAY.ingests])
        with Sender(bootstrap, print) as sender:
            for happening in islice(PromotionDay(11, 100.0, START), RECORDS):
                assert sender.send(happening.message)
        batch_times(tmp_path / "warm-up", bootstrap, spark, False)
        without, with_alerts = [], []
        for pair in range(PAIRS):
            without += batch_times(tmp_path / f"without-{pair}", bootstrap, spark, False)
            with_alerts += batch_times(tmp_path / f"with-{pair}", bootstrap, spark, True)
    finally:
        broker.stop()
    growth = median(with_alerts) / median(without)
    said = f"batches of {PER_BATCH}: {median(without):.3f} s without alerts, {median(with_alerts):.3f} s with them: {growth:.3f} times"
    print(f"\n{said} ({len(without)} and {len(with_alerts)} batches)")
    assert growth < ALLOWED_GROWTH, said


def batch_times(home: Path, bootstrap: str, spark: SparkSession, with_alerts: bool) -> list[float]:
    """Seconds of each micro-batch of a run over all there is, but for the first ones."""
    settings = settings_for(home, PER_BATCH)
    every = sources()
    watchers = [AlertWatch(Path("conf/alerts.yaml"), every, every, print)] if with_alerts else []
    Runner(settings, bootstrap, spark, STREAMED, "main", print, watchers).run(once=True)
    log = QueryLog(settings.checkpoint("main"))
    done = sorted(log.commits)[COLD:]
    return [log.commits_file(n).stat().st_mtime - log.offsets_file(n).stat().st_mtime for n in done]
