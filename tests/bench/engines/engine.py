"""What an engine is to the benchmark: a command to run, a sign that it reads, and tables an outsider can read."""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from bench.truth import QUESTIONS, Expected, differences, held, same_sum
from promolake.cli.freshness import GoldWatch

REPOSITORY = Path(__file__).parents[3]
JOBS = Path(__file__).parent / "jobs"
Work = Literal["common", "all"]
Mode = Literal["once", "live"]
Say = Callable[[str], None]
COMMON_TOPICS = ("shop.orders", "site.access")
COMMON_TABLES = tuple(QUESTIONS)


@dataclass(frozen=True)
class Place:
    """One run's own directory, the broker it reads, and the work it does."""

    home: Path
    bootstrap: str
    work: Work

    @property
    def log(self) -> Path:
        return self.home / "engine.log"

    def table(self, layer: str, name: str) -> Path:
        return self.home / "lake" / layer / name


class Watch(GoldWatch):
    """The outside reader, which also tells how many sales are visible by now."""

    @property
    def total(self) -> int:
        return self._seen[-1][0] if self._seen else 0

    @property
    def seen_at(self) -> float:
        """When the total last grew."""
        return self._seen[-1][1] if self._seen else 0.0


class Engine(ABC):
    """One engine. Its tables lie under `place.table(layer, name)`, Delta unless it says otherwise."""

    name: str
    does: tuple[Work, ...] = ("common",)
    keeps: str
    """What kind of table it writes, and what else it does or leaves out, in a sentence of the report."""
    lives = True
    """Whether it can run until it is stopped, into tables that can be watched."""
    slow = False
    """Whether its fixed cost alone takes minutes: a quick run leaves most of it out."""
    sign = "running"
    """What it prints when it has begun to read, in live mode."""

    def prepare(self, say: Say) -> None:
        """Fetches what it needs, before anything is measured."""
        return

    @abstractmethod
    def command(self, place: Place, mode: Mode) -> list[str]:
        """`once`: takes all there is and ends with 0. `live`: runs until SIGTERM."""

    def environment(self, place: Place) -> dict[str, str]:
        return dict(os.environ)

    def is_ready(self, place: Place) -> bool:
        return place.log.exists() and self.sign in place.log.read_text(errors="replace")

    def watch(self, place: Place) -> Watch:
        return Watch(place.table("gold", "gmv_per_minute"))

    def rows(self, place: Place, layer: str, name: str, columns: str = "*") -> pa.Table:
        """What a plain reader of the table sees; `columns` is SQL."""
        table = DeltaTable(str(place.table(layer, name)))
        return pa.table(QueryBuilder().register("t", table).execute(f"SELECT {columns} FROM t").read_all())

    def differences(self, place: Place, expected: Expected, truth: dict[str, Any]) -> list[str]:
        """Where the result is not the truth, in sentences; none where it is."""
        topics = {topic: n for topic, n in expected.records.items() if place.work == "all" or topic in COMMON_TOPICS}
        said = differences(expected.tables, {name: held(name, self.rows(place, "gold", name)) for name in QUESTIONS})
        for topic, count in topics.items():
            said += same_sum(f"bronze of {topic}", count, self.count(place, topic.replace(".", "_")))
        return said + (self._other_differences(place, expected, truth) if place.work == "all" else [])

    def count(self, place: Place, bronze: str) -> int:
        return self.rows(place, "bronze", bronze, "count(*) AS n")["n"][0].as_py()

    def _other_differences(self, place: Place, expected: Expected, truth: dict[str, Any]) -> list[str]:
        """The tables outside the common work, by their totals."""
        samples = "CASE WHEN host <> '*' THEN sample_count ELSE 0 END"
        totals = {
            ("traffic_per_minute", "request_count"): truth["request_count"],
            ("traffic_per_minute", "page_view_count"): truth["page_view_count"],
            ("errors_per_minute", "error_count"): truth["error_count"],
            ("funnel_per_minute", "search_count"): expected.records["shop.searches"],
            ("funnel_per_minute", "view_count"): expected.records["shop.views"],
            ("machine_metrics_per_minute", samples): expected.records["machine.metrics"],
        }
        said = []
        for (table, figure), value in totals.items():
            found = self.rows(place, "gold", table, f"sum({figure}) AS n")["n"][0].as_py()
            said += same_sum(f"{table}, {figure}", value, found)
        return said


def job(script: str, place: Place, mode: Mode, python: Path | str = sys.executable) -> list[str]:
    """A job of `jobs/` in its own process."""
    return [str(python), str(JOBS / script), str(place.home / "lake"), place.bootstrap, place.work, mode]
