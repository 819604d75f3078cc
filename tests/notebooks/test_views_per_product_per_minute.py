"""The example metric keeps the house's laws for gold, although it stands beside the notebooks."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from pyspark.sql import SparkSession

from frames import assert_rows, at, computed, minute
from promolake.core.table import Written
from promolake.hallway import HALLWAY

pytestmark = pytest.mark.spark
FILE = Path(__file__).parents[2] / "notebooks" / "views_per_product_per_minute.py"


@pytest.fixture(scope="module")
def metric() -> ModuleType:
    found = importlib.util.spec_from_file_location(FILE.stem, FILE)
    module = importlib.util.module_from_spec(found)
    sys.modules[FILE.stem] = module
    found.loader.exec_module(module)
    return module


def test_views_of_a_product_add_up_per_minute(spark: SparkSession, metric: ModuleType) -> None:
    view = {"event_time": at("00:00:10"), "product_id": "p1"}
    views = [view, view, view | {"product_id": "p2"}, view | {"event_time": at("00:01:00")}]
    row = minute("00:00:00") | {"product_id": "p1", "view_count": 1}
    expected = [row | {"view_count": 2}, row | {"product_id": "p2"}, row | minute("00:01:00")]
    assert_rows(computed(spark, metric.FLOW, views), spark, metric.TABLE, expected)


def test_it_would_fit_into_the_hallway(metric: ModuleType) -> None:
    assert metric.TABLE.name not in {table.name for table in HALLWAY.tables}
    assert metric.TABLE.written is Written.ACCUMULATE
    assert {*metric.TABLE.grain, *metric.TABLE.stats} <= {*metric.TABLE.column_names}
    assert [noun for noun in (metric.TABLE, *metric.TABLE.columns) if not noun.description.endswith(".")] == []
    (reads,) = metric.FLOW.reads
    assert reads.table in {flow.table for flow in HALLWAY.ingests}
    assert {*reads.columns} <= {*reads.table.column_names}
