"""Tables that accumulate must add up: what a flow makes of two batches, added, is what it makes of both at once."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from drawn import drawn
from frames import at, computed
from promolake.core.flow import Metric
from promolake.core.table import Written
from promolake.hallway import HALLWAY

ACCUMULATED = [flow for flow in HALLWAY.metrics if flow.table.written is Written.ACCUMULATE]
CLOCKS = st.sampled_from(["00:00:00", "00:00:59.999999", "00:01:00"]).map(at)
# Few values of each column, so that rows meet in the same grain.
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "event_time": CLOCKS,
    "currency": st.sampled_from(["CNY", "EUR"]),
    "product_id": st.sampled_from(["p1", "p2"]),
    "line_amount": st.decimals(-100, 100, places=4).map(lambda amount: Decimal(amount)),
    "quantity": st.integers(-3, 3),
    "ip": st.sampled_from(["1.1.1.1", "::1"]),
    "is_page_view": st.booleans(),
    "service": st.sampled_from(["pay", "cart", None]),
    "level": st.sampled_from(["ERROR", "INFO", "UNKNOWN"]),
}
STATUS = {"requests": st.sampled_from([200, 404, 500]), "orders": st.sampled_from(["PAID", "PLACED", "CANCELLED", "REFUNDED"])}


def summed(flow: Metric, parts: DataFrame) -> DataFrame:
    figures = [name for name in flow.table.figures if name != "window_end"]
    return parts.groupBy(*flow.table.grain).agg(*(F.sum(name).alias(name) for name in figures), F.max("window_end").alias("window_end"))


@pytest.mark.parametrize("flow", ACCUMULATED, ids=lambda flow: flow.table.short)
def test_the_parts_add_up_to_the_whole(spark: SparkSession, flow: Metric) -> None:
    (reads,) = flow.reads
    values = VALUES | {"status": STATUS.get(reads.table.short)}
    rows = drawn(st.fixed_dictionaries({name: values[name] for name in reads.columns}), 200)
    one, other = rows[::3], [row for n, row in enumerate(rows) if n % 3]
    columns = [name for name in flow.table.column_names if name != "window_end"]
    added = summed(flow, computed(spark, flow, one).union(computed(spark, flow, other))).select("window_end", *columns).collect()
    whole = computed(spark, flow, rows).select("window_end", *columns).collect()
    assert sorted(map(repr, added)) == sorted(map(repr, whole))
    assert len(whole) > 2


@pytest.mark.parametrize("flow", ACCUMULATED, ids=lambda flow: flow.table.short)
def test_no_rows_add_nothing(spark: SparkSession, flow: Metric) -> None:
    assert computed(spark, flow, []).isEmpty()
