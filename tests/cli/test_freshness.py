"""How old gold is, seen from outside."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from promolake.cli.freshness import GoldWatch, quantile
from promolake.engine.arrow import arrow_schema
from promolake.engine.lakehouse import Lakehouse, Txn
from promolake.gold.gmv_per_minute import TABLE


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[GoldWatch]:
    """It watches a table that is not there yet."""
    watching = GoldWatch(tmp_path / "gold" / TABLE.short)
    yield watching
    watching.close()


def marks(tmp_path: Path, *lines: str) -> Path:
    file = tmp_path / "simulation.json.sales.csv"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def test_quantiles_are_values_that_were_seen() -> None:
    ascending = [float(n) for n in range(1, 101)]
    assert (quantile(ascending, 0.5), quantile(ascending, 0.99), quantile(ascending, 1.0), quantile(ascending, 0.0)) == (51, 100, 100, 1)
    assert quantile([7.0], 0.99) == 7.0
    assert quantile([], 0.5) is None


def test_a_delay_runs_from_the_intended_send_time_to_the_first_sight_of_the_sale(watch: GoldWatch, tmp_path: Path) -> None:
    watch._seen = [(3, 100.5), (10, 102.0)]  # what a reader of gold saw, and when
    # sent at, sale lines sent before it, units: 3 are seen at 100.5; 5 and 10 at 102.0; 11 are not there yet.
    # The last line is still being written.
    sales = marks(tmp_path, "99.000,0,0", "100.000,3,4", "100.050,3,4", "100.900,5,9", "101.000,10,20", "101.500,11,21", "101.600,1")
    assert watch.delays(sales, baseline=0, after=0) == pytest.approx([0.5, 1.0, 1.1])
    assert watch.delays(sales, baseline=0, after=100.5) == pytest.approx([1.0, 1.1])
    assert watch.delays(sales, baseline=0, after=100.0, until=100.9) == pytest.approx([0.5])


def test_what_gold_held_before_is_not_taken_for_what_was_sent(watch: GoldWatch, tmp_path: Path) -> None:
    watch._seen = [(1000, 100.5), (1003, 103.0)]
    assert watch.delays(marks(tmp_path, "100.000,3,4"), baseline=1000, after=0) == [3.0]


def test_a_watch_sees_the_first_row_and_every_later_total(watch: GoldWatch, tmp_path: Path, until) -> None:
    lake, began = Lakehouse(tmp_path), time.time()
    minute = {"window_start": datetime(2026, 11, 11, tzinfo=UTC), "currency": "CNY", "category": "toys"}
    assert watch.first_row_at is None
    for count in (2, 5):
        lake.upsert(TABLE, pa.Table.from_pylist([minute | {"sale_count": count}], schema=arrow_schema(TABLE)), Txn("scan", count))
        until(lambda count=count: [total for total, _ in watch._seen][-1:] == [count])
    assert [total for total, _ in watch._seen] == [2, 5]
    assert began < watch.first_row_at < time.time()
