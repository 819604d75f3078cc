"""One lake filled with every real file through a real broker, shared by the laws that look at it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from promolake import settings as configuration
from promolake.engine import kafka
from promolake.engine.lakehouse import Lakehouse
from promolake.engine.runner import Runner
from promolake.hallway import HALLWAY
from promolake.local.broker import Broker
from promolake.producers.mapping import mapping
from promolake.producers.replay import replay
from promolake.serving.sql import Reader

REPOSITORY = Path(__file__).parents[2]
DATA = REPOSITORY.parent / "shared" / "data"
FILES = {
    "online_retail": "order-online-retail/*.csv.gz",
    "apache_combined": "access-elastic-apache/*.log.gz",
    "nezha_metrics": "metric-onlineboutique-nezha/*_metric.csv.gz",
    "kafka_log4j": "applog-kafka-elastic/kafka0/*.gz",
    "nezha_app_log": "applog-trainticket-nezha/*.csv.gz",
    "excite_queries": "search-excite/*.log.gz",
    "nezha_shop_views": "shop-onlineboutique-nezha/*.csv.gz",
}


@dataclass
class RealLake:
    """A home, its broker, and how to fill and read it."""

    settings: configuration.Settings
    bootstrap: str
    spark: SparkSession

    @property
    def lake(self) -> Lakehouse:
        return Lakehouse(self.settings.lake, lambda: self.spark)

    def replay(self, name: str) -> None:
        report = replay(sorted(DATA.glob(FILES[name])), mapping(name, REPOSITORY / "conf" / "replay"), self.bootstrap, say=print)
        assert report.sent > 0
        assert report.unmapped == 0

    def run_once(self) -> None:
        Runner(self.settings, self.bootstrap, self.spark, HALLWAY, "main", print).run(once=True)

    def ask(self, sql: str) -> list[tuple]:
        with Reader(self.settings.lake) as reader:
            return [tuple(row.values()) for row in reader.query(sql).to_pylist()]


@pytest.fixture(scope="session")
def real_lake(tmp_path_factory: pytest.TempPathFactory, spark: SparkSession) -> Iterator[RealLake]:
    """Every real file replayed once and taken in by `run --once`, on a broker of its own."""
    if not DATA.is_dir():
        pytest.skip(f"the real files are not at {DATA}")
    settings = configuration.load(tmp_path_factory.mktemp("real"))
    broker = Broker(settings.home)
    broker.start(print, tied=True)
    try:
        lake = RealLake(settings, broker.status().bootstrap, spark)
        kafka.ensure_topics(lake.bootstrap, [flow.topic.name for flow in HALLWAY.ingests])
        for name in FILES:
            lake.replay(name)
        lake.run_once()
        yield lake
    finally:
        broker.stop()
