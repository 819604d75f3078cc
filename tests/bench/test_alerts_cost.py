"""What the alerts cost the stream: the same records through the same flows, with and without them, run by run in turn."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import pytest
from pyspark.sql import SparkSession

from bench.dataset import troubled_day
from day import STREAMED, settings_for
from promolake.alerts.watch import AlertWatch
from promolake.cli.watching import sources
from promolake.engine.query_log import QueryLog
from promolake.engine.runner import Runner

RECORDS, PER_BATCH, PAIRS = 30_000, 1_000, 4
COLD = 5  # batches of each run that are left out
ALLOWED_GROWTH = 1.10


@pytest.mark.bench
def test_alerts_make_a_micro_batch_less_than_a_tenth_longer(spark: SparkSession, tmp_path: Path) -> None:
    """Median batch time, from a batch's plan to its commit, of the shipped rules over the hallway's metrics."""
    with troubled_day(tmp_path / "broker", 100.0, RECORDS, print) as bootstrap:
        batch_times(tmp_path / "warm-up", bootstrap, spark, False)
        took: dict[bool, list[float]] = {False: [], True: []}
        for pair in range(PAIRS):
            for with_alerts in (pair % 2 == 0, pair % 2 == 1):  # each as often first: the machine and its JVM drift
                took[with_alerts] += batch_times(tmp_path / f"{with_alerts}-{pair}", bootstrap, spark, with_alerts)
    without, growth = took[False], median(took[True]) / median(took[False])
    said = f"batches of {PER_BATCH}: {median(without):.3f} s without alerts, {median(took[True]):.3f} s with them: {growth:.3f} times"
    print(f"\n{said} ({len(without)} and {len(took[True])} batches)")
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
