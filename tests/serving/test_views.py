"""The views: what they answer, and that they answer the same in DuckDB and in Spark."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from promolake.engine.lateness import RESTATEMENTS
from promolake.gold.gmv_per_minute import TABLE as GMV
from promolake.gold.traffic_per_minute import TABLE as TRAFFIC
from promolake.gold.traffic_per_minute import traffic_per_minute
from promolake.serving import catalog
from promolake.serving.registration import registered
from promolake.serving.sql import Reader

MIDNIGHT = datetime(2026, 11, 11, tzinfo=UTC)


def answer(lake: Any, sql: str) -> list[tuple[Any, ...]]:
    with Reader(lake.root) as reader:
        return [tuple(row.values()) for row in reader.query(sql).to_pylist()]


def minutes(name: str) -> str:
    return f"CAST(DATE_DIFF('minute', TIMESTAMPTZ '2026-11-11 00:00:00Z', {name}) AS INT)"


def test_running_gmv_adds_up_minute_by_minute_and_never_over_currencies(lake: Any) -> None:
    lake.gmv((0, "CNY", "10.10", "0"), (0, "USD", "1.0001", "0"), (5, "CNY", "5", "-12.5"), (5, "USD", "0", "-0.0001"))
    sql = f"SELECT {minutes('window_start')}, currency, gmv_amount, refund_amount, net_amount FROM gold.gmv_running ORDER BY 2, 1"
    assert answer(lake, sql) == [
        (0, "CNY", Decimal("10.1"), Decimal(0), Decimal("10.1")),
        (5, "CNY", Decimal("15.1"), Decimal("-12.5"), Decimal("2.6")),
        (0, "USD", Decimal("1.0001"), Decimal(0), Decimal("1.0001")),
        (5, "USD", Decimal("1.0001"), Decimal("-0.0001"), Decimal(1)),
    ]


def test_running_gmv_adds_the_categories_of_a_minute(lake: Any) -> None:
    lake.add(
        GMV,
        [
            {"minute": 0, "currency": "CNY", "category": "toys", "gmv_amount": "1"},
            {"minute": 0, "currency": "CNY", "category": "shoes", "gmv_amount": "2"},
        ],
    )
    assert answer(lake, "SELECT gmv_amount FROM gold.gmv_running") == [(Decimal(3),)]


def test_top_products_ranks_by_amount_and_by_units_and_breaks_ties_by_product(lake: Any) -> None:
    lake.sales((0, "CNY", "b", "5", 1), (0, "CNY", "a", "5", 1), (0, "CNY", "c", "1", 9))
    sql = "SELECT ranked_by, rank, product_id FROM gold.top_products WHERE span = 'whole promotion' ORDER BY 1, 2"
    by_amount, by_units = ("a", "b", "c"), ("c", "a", "b")
    assert answer(lake, sql) == [
        *(("amount", rank, product) for rank, product in enumerate(by_amount, 1)),
        *(("units", rank, product) for rank, product in enumerate(by_units, 1)),
    ]


def test_top_products_keeps_five_and_never_adds_currencies(lake: Any) -> None:
    lake.sales(*((0, "CNY", f"p{n}", str(n), 1) for n in range(1, 8)), (0, "USD", "p1", "100", 1))
    sql = """SELECT currency, product_id FROM gold.top_products
             WHERE span = 'whole promotion' AND ranked_by = 'amount' ORDER BY currency, rank"""
    assert answer(lake, sql) == [*(("CNY", f"p{n}") for n in (7, 6, 5, 4, 3)), ("USD", "p1")]


def test_a_sale_counts_in_the_five_sliding_windows_that_cover_its_minute_and_no_window_outruns_the_newest_minute(lake: Any) -> None:
    lake.sales((0, "CNY", "early", "1", 1), (7, "CNY", "late", "1", 1))
    sql = f"SELECT {minutes('window_end')}, product_id FROM gold.top_products WHERE span = '5 minutes' AND ranked_by = 'units' ORDER BY 1"
    assert answer(lake, sql) == [(1, "early"), (2, "early"), (3, "early"), (4, "early"), (5, "early"), (8, "late")]


def test_a_sliding_window_adds_its_five_minutes(lake: Any) -> None:
    lake.sales(*((minute, "CNY", "p", "1.5", 2) for minute in range(10)))
    sql = f"""SELECT {minutes("window_end")}, sales_amount, unit_count FROM gold.top_products
              WHERE span = '5 minutes' AND ranked_by = 'amount' ORDER BY window_end DESC LIMIT 1"""
    assert answer(lake, sql) == [(10, Decimal("7.5"), 10)]


def test_the_last_hour_ends_at_the_newest_minute_of_any_currency(lake: Any) -> None:
    lake.sales((0, "CNY", "old", "9", 9), (10, "CNY", "new", "1", 1), (69, "USD", "newest", "1", 1))
    sql = f"""SELECT {minutes("window_end")}, currency, product_id FROM gold.top_products
              WHERE span = 'last hour' AND ranked_by = 'units' ORDER BY 2"""
    assert answer(lake, sql) == [(70, "CNY", "new"), (70, "USD", "newest")]


def test_top_ips_ranks_each_hour_and_the_whole(lake: Any) -> None:
    lake.requests((0, "10.0.0.1", 3), (59, "10.0.0.2", 2), (60, "10.0.0.2", 2), (61, "10.0.0.3", 2))
    sql = f"SELECT span, {minutes('window_start')}, {minutes('window_end')}, rank, ip, request_count FROM gold.top_ips ORDER BY 1, 2, 4"
    assert answer(lake, sql) == [
        ("hour", 0, 60, 1, "10.0.0.1", 3),
        ("hour", 0, 60, 2, "10.0.0.2", 2),
        ("hour", 60, 120, 1, "10.0.0.2", 2),
        ("hour", 60, 120, 2, "10.0.0.3", 2),
        ("whole promotion", 0, 62, 1, "10.0.0.2", 4),
        ("whole promotion", 0, 62, 2, "10.0.0.1", 3),
        ("whole promotion", 0, 62, 3, "10.0.0.3", 2),
    ]


def test_conversion_divides_within_the_minute_and_says_null_rather_than_dividing_by_zero(lake: Any) -> None:
    lake.funnel((0, 4, 10, 5), (1, 0, 0, 1), (2, 2, 0, 0))
    lake.paid_lines((0, "v", None), (0, "v", "s"), (0, None, None), (0, None, None), (3, None, "s"))
    columns = "paid_line_count, views_per_search, orders_per_view, viewed_line_share, searched_line_share"
    found = answer(lake, f"SELECT {minutes('window_start')}, {minutes('window_end')}, {columns} FROM gold.conversion ORDER BY 1")
    assert found == [
        (0, 1, 4, 2.5, 0.5, 0.5, 0.25),
        (1, 2, 0, None, None, None, None),
        (2, 3, 0, 0.0, None, None, None),
        (3, 4, 1, None, None, 0.0, 1.0),
    ]


def test_visitors_of_a_day_are_counted_once_however_many_minutes_they_come_in(lake: Any) -> None:
    lake.traffic((0, ["a", "b"]), (1, ["b", "c"]), (1440, ["a"]))
    sql = "SELECT CAST(day AS VARCHAR), request_count, page_view_count, visitor_count FROM gold.visitors_per_day ORDER BY day"
    assert answer(lake, sql) == [("2026-11-11", 4, 2, 3), ("2026-11-12", 1, 1, 1)]


def test_the_estimate_of_many_visitors_is_within_five_standard_errors(lake: Any) -> None:
    lake.traffic(*((minute, [f"ip{n}" for n in range(minute * 500, minute * 500 + 1000)]) for minute in range(10)))
    (visitors,) = answer(lake, "SELECT visitor_count FROM gold.visitors_per_day")[0]
    assert abs(visitors - 5500) < 5500 * 5 * 0.016


def test_a_minute_has_a_revision_for_each_batch_that_restated_it(lake: Any) -> None:
    late = {"query": "main", "ingested_at": MIDNIGHT}
    rows = [(4, "silver.orders", 0, 2), (5, "silver.orders", 0, 1), (5, "silver.views", 0, 7), (5, "silver.orders", 1, 1)]
    lake.add(
        RESTATEMENTS,
        [
            late | {"batch_id": batch, "source": source, "window_start": MIDNIGHT + timedelta(minutes=minute), "late_count": count}
            for batch, source, minute, count in rows
        ],
    )
    sql = "SELECT source, minute(window_start), revision, late_count FROM gold.revisions ORDER BY 1, 2"
    assert answer(lake, sql) == [("silver.orders", 0, 2, 3), ("silver.orders", 1, 1, 1), ("silver.views", 0, 1, 7)]


def test_every_view_says_what_it_answers_and_names_its_tables() -> None:
    for view in catalog.views().values():
        assert "?" in view.description
        assert view.reads
        assert not view.text.rstrip().endswith(";")


# --- one text, two engines -----------------------------------------------------------------------------------------------------


@pytest.mark.spark
def test_every_view_gives_the_same_rows_and_types_in_spark_and_in_duckdb(spark: SparkSession, lake: Any) -> None:
    _fill(lake)
    names = registered(spark, lake.root)
    assert set(catalog.views()) <= set(names)
    with Reader(lake.root) as reader:
        for name in catalog.views():
            here, there = reader.query(f"SELECT * FROM {name}"), spark.sql(f"SELECT * FROM {name}").toArrow()
            assert here.num_rows > 0, name
            assert here.schema.types == there.schema.types, name
            assert _sorted(here) == _sorted(there), name


@pytest.mark.spark
def test_sketches_that_spark_wrote_give_the_same_estimates_without_it(spark: SparkSession, lake: Any) -> None:
    # by day: few enough visitors for a list of coupons, for a hash set, and for registers; each address comes in two minutes
    requests = spark.sql("""
        SELECT TIMESTAMP '2026-11-11 00:00:00' + MAKE_DT_INTERVAL(day, 0, (id + again) % 7) AS event_time, CONCAT('ip', id) AS ip,
               200 AS status, 1L AS bytes, TRUE AS is_page_view
        FROM (VALUES (0, 20), (1, 400), (2, 20000)) AS days(day, visitors) JOIN RANGE(20000) ON id < visitors
        CROSS JOIN (VALUES (0), (1)) AS times(again)""")
    lake.add(TRAFFIC, traffic_per_minute(requests).toArrow().to_pylist())
    registered(spark, lake.root)
    by_minute = "SELECT window_start, hll_sketch_estimate(visitor_sketch) AS n FROM gold.traffic_per_minute"
    by_day = "SELECT * FROM gold.visitors_per_day"
    whole = "SELECT hll_sketch_estimate(hll_union_agg(visitor_sketch)) AS n FROM gold.traffic_per_minute"
    nothing = f"{whole} WHERE visitor_count < 0"
    with Reader(lake.root) as reader:
        for sql in (by_minute, by_day, whole, nothing):
            assert _sorted(reader.query(sql)) == _sorted(spark.sql(sql).toArrow()), sql


def _fill(lake: Any) -> None:
    """Two currencies, two days, gaps, ties, zeros and NULLs, each table in two batches so that the second one merges."""
    currencies = ("CNY", "USD")
    late = {"query": "main", "source": "silver.orders", "window_start": MIDNIGHT, "ingested_at": MIDNIGHT}
    lake.add(RESTATEMENTS, [late | {"batch_id": n, "late_count": n + 1} for n in range(3)])
    for shift in (0, 3):
        lake.gmv(*((m + shift, c, f"{m}.{m:04}", f"-0.{m:02}") for m in (0, 1, 4, 9, 1441) for c in currencies))
        sold = [(m + shift, f"p{(m + n) % 9}", f"{n % 4}.1234", n % 3 + 1) for m in (0, 1, 4, 64, 1441) for n in range(9)]
        lake.sales(*((m, c, *what) for m, *what in sold for c in currencies))
        lake.requests(*((m + shift, f"10.0.{m % 3}.{n}", m + n) for m in (0, 59, 60, 1441) for n in range(40)))
        lake.funnel((0 + shift, 3, 7, 2), (1 + shift, 0, 5, 0), (2 + shift, 4, 0, 1))
        lake.paid_lines((0 + shift, "v", "s"), (0 + shift, None, "s"), (9 + shift, None, None))
        lake.traffic(*((m + shift, [f"ip{n}" for n in range(m % 100, m % 100 + 300)]) for m in (0, 1, 50, 1441)))


def _sorted(rows: pa.Table) -> list[tuple[Any, ...]]:
    return sorted((tuple(row.values()) for row in rows.to_pylist()), key=repr)
