"""A home to be damaged: healthy, half way through its topics, and what it holds when it is run to their end."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

import day as days
from promolake.core.table import Written
from promolake.engine.doctor import Doctor, Mended, preflight
from promolake.engine.finding import Finding, Harm
from promolake.engine.lakehouse import Lakehouse
from promolake.engine.ledger import LEDGER
from promolake.engine.query_log import QueryLog
from promolake.engine.runner import chosen
from promolake.hallway import HALLWAY
from promolake.local.broker import Broker

FLOWS = chosen(
    HALLWAY, ["sales_per_product_per_minute", "funnel_per_minute", "attributed_orders"]
)  # one that adds, one that replaces, one that joins
TABLES = [*FLOWS.tables, LEDGER]
RECORDS = 35  # of a batch
SCAN, JOIN = "main", "attributed_orders"
SALES, FUNNEL = (flow.table for flow in FLOWS.metrics)
assert (SALES.written, FUNNEL.written) == (Written.ACCUMULATE, Written.REPLACE)
ATTRIBUTED = FLOWS.joins[0].table
ORDERS = next(flow for flow in FLOWS.ingests if flow.topic.name == "shop.orders")
VIEWS = next(flow for flow in FLOWS.ingests if flow.topic.name == "shop.views")
FED = [ORDERS.bronze, ORDERS.table, VIEWS.bronze, VIEWS.table, SALES, FUNNEL, LEDGER]


@dataclass(frozen=True)
class Patient:
    """A home that can be damaged, examined, mended, and run on to the end of its topics."""

    home: Path
    bootstrap: str
    spark: SparkSession
    went_on: dict[str, Path] = field(default_factory=dict)  # of all patients of the ward: what became of a home, by its bytes

    @property
    def lake(self) -> Lakehouse:
        return Lakehouse(self.home / "lake")

    def doctor(self) -> Doctor:
        return Doctor(self.home, self.home / "lake", HALLWAY)

    def findings(self, worse_than: Harm = Harm.NONE) -> list[Finding]:
        return [one for one in self.doctor().findings() if one.harm is not worse_than]

    def mended(self) -> Mended:
        return self.doctor().mend(print)

    def preflight(self) -> None:
        preflight(self.home, self.home / "lake", HALLWAY, [SCAN, JOIN])

    def run_on(self) -> None:
        """Runs on to the end of the topics. A run sees nothing but the home and the topics, which are the same for all patients: a home
        that is mended to the byte as one before it becomes what that one became, without Spark."""
        before = self.bytes()
        if before in self.went_on:
            shutil.rmtree(self.home)
            shutil.copytree(self.went_on[before], self.home)
            return
        self.run()
        self.went_on[before] = shutil.copytree(self.home, self.home.with_name("went on"))

    def bytes(self) -> str:
        """A digest of every file a run can read: all but what a doctor took away, and the locks."""
        found = hashlib.sha256()
        for file in sorted(one for one in self.home.rglob("*") if one.is_file()):
            name = file.relative_to(self.home)
            if name.parts[0] not in ("doctor", "locks"):
                found.update(f"{name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
        return found.hexdigest()

    def run(self) -> None:
        """As `run_on`, in any case by Spark."""
        days.run_once(days.settings_for(self.home, RECORDS), self.bootstrap, self.spark, FLOWS)

    def checkpoint(self, query: str = SCAN) -> QueryLog:
        return QueryLog(self.home / "checkpoints" / query)

    def offsets(self, back: int = 0, query: str = SCAN) -> Path:
        log = self.checkpoint(query)
        return log.offsets_file(log.last - back)

    def commits(self, back: int = 0, query: str = SCAN) -> Path:
        log = self.checkpoint(query)
        return log.commits_file(log.last - back)

    def log(self, name: str) -> Path:
        return self.home / "lake" / name.replace(".", "/") / "_delta_log"

    def intake(self, short: str) -> Path:
        """What the join reads of a silver table."""
        return self.home / "state" / "intake" / JOIN / "intake" / short

    def newest(self, name: str, back: int = 0) -> Path:
        return sorted(self.log(name).glob("*.json"))[-1 - back]

    def holds(self) -> dict[str, object]:
        """All that may not depend on when it was read: every row of every table, and what the ledger counted."""
        lake, found = self.lake, {}
        for table in FLOWS.tables:
            names = [name for name in table.column_names if name not in ("ingested_at", "visitor_sketch")]
            rows = lake.read(table, names).to_pylist()
            found[table.name] = sorted(map(repr, rows))
        ledger = lake.read(LEDGER, ["topic", "partition", "read_count", "valid_count", "quarantined_count", "duplicate_count"])
        counts = ledger.group_by(["topic", "partition"]).aggregate([(name, "sum") for name in ledger.column_names[2:]])
        return found | {LEDGER.name: sorted(map(repr, counts.to_pylist()))}


@dataclass(frozen=True)
class Ward:
    """A healthy home half way through its topics, and what it holds when it is run to their end."""

    healthy: Path
    bootstrap: str
    spark: SparkSession
    whole: dict[str, object]
    went_on: dict[str, Path] = field(default_factory=dict)

    def admit(self, home: Path) -> Patient:
        shutil.copytree(self.healthy, home)
        return Patient(home, self.bootstrap, self.spark, self.went_on)


@contextmanager
def opened(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    """The ward, on a broker of its own."""
    own = Broker(tmp_path_factory.mktemp("ward_broker"))
    own.start(print, tied=True)
    bootstrap = own.status().bootstrap
    days.sent(bootstrap, 25, seed=11)
    healthy = Patient(tmp_path_factory.mktemp("ward") / "healthy", bootstrap, spark)
    healthy.run()
    last = healthy.checkpoint().last
    assert last >= 2, "too few batches to damage"
    # Two batches more, each with something for every table, so that the newest commits of each are the last batch's and the one's before:
    # which records came to be in the batches before that depends on the partitions they went to, and a table that had none of one cannot
    # be told from one that lost them.
    for number, seed in enumerate((13, 14), start=1):
        days.sent(bootstrap, 6, seed=seed)
        versions = {table.name: healthy.lake.version(table) for table in FED}
        healthy.run()
        assert healthy.checkpoint().last == last + number
        assert [table.name for table in FED if healthy.lake.version(table) == versions[table.name]] == []
    days.sent(bootstrap, 10, seed=12)
    whole = tmp_path_factory.mktemp("ward") / "whole"
    shutil.copytree(healthy.home, whole)
    undisturbed = Patient(whole, bootstrap, spark)
    undisturbed.run()
    assert undisturbed.checkpoint().last > healthy.checkpoint().last
    yield Ward(healthy.home, bootstrap, spark, undisturbed.holds())
    own.stop()
