"""A plan that is kept answers for the rows it is given, never for those of the run before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from promolake.engine.prepared import Prepared
from promolake.engine.scan import Scan, _schemas
from promolake.hallway import HALLWAY

pytestmark = pytest.mark.spark
SCHEMA = "word string, n bigint"


def rows(*pairs: tuple[str, int]) -> pa.Table:
    return pa.table({"word": pa.array([w for w, _ in pairs], pa.string()), "n": pa.array([n for _, n in pairs], pa.int64())})


def sums(words: DataFrame) -> DataFrame:
    return words.groupBy("word").agg(F.sum("n").alias("n"))


def answered(prepared: Prepared, *inputs: pa.Table) -> list[tuple]:
    return sorted(tuple(row.values()) for row in prepared.run(*inputs).to_pylist())


def test_each_run_answers_for_its_own_rows(spark: SparkSession, tmp_path: Path) -> None:
    prepared = Prepared(spark, tmp_path, "sums", [SCHEMA], sums)
    assert prepared.is_kept
    assert answered(prepared, rows(("a", 1), ("b", 2), ("a", 3))) == [("a", 4), ("b", 2)]
    assert answered(prepared, rows(("c", 7))) == [("c", 7)]
    assert answered(prepared, rows()) == []
    assert answered(prepared, rows(*(("a", n) for n in range(1000)))) == [("a", 499500)]


def test_rows_spread_over_partitions_are_all_there_once(spark: SparkSession, tmp_path: Path) -> None:
    prepared = Prepared(spark, tmp_path, "all", [SCHEMA], lambda words: words.select("word", "n"), partitions=3)
    assert prepared.is_kept
    for count in (10, 2, 0, 25_000):
        given = rows(*(("a", n) for n in range(count)))
        assert answered(prepared, given) == [("a", n) for n in range(count)]


def self_joined(words: DataFrame) -> DataFrame:
    return words.join(F.broadcast(words.select("word").distinct()), "word").select("word", "n")


@pytest.mark.parametrize("function", [lambda words: sums(words.repartition(2, "word")), self_joined])
def test_a_plan_that_would_keep_rows_is_made_anew(
    spark: SparkSession, tmp_path: Path, function: Callable[[DataFrame], DataFrame]
) -> None:
    """A shuffle's files, or a broadcast of the rows, stay with the plan: run again it would answer with the first batch."""
    prepared = Prepared(spark, tmp_path, "kept", [SCHEMA], function)
    assert not prepared.is_kept
    assert answered(prepared, rows(("a", 1))) == [("a", 1)]
    assert answered(prepared, rows(("b", 2))) == [("b", 2)]


def test_a_broadcast_of_something_else_may_stay(spark: SparkSession, tmp_path: Path) -> None:
    names = spark.createDataFrame([("a", "alpha"), ("b", "beta")], "word string, name string")
    prepared = Prepared(spark, tmp_path, "named", [SCHEMA], lambda words: words.join(F.broadcast(names), "word").select("name", "n"))
    assert prepared.is_kept
    assert answered(prepared, rows(("a", 1))) == [("alpha", 1)]
    assert answered(prepared, rows(("b", 2), ("c", 3))) == [("beta", 2)]


@pytest.mark.parametrize("metric", HALLWAY.metrics, ids=lambda metric: metric.table.short)
def test_every_metric_of_the_house_is_planned_once(spark: SparkSession, tmp_path: Path, metric) -> None:
    assert Prepared(spark, tmp_path, "metric", _schemas(metric.reads), metric.function).is_kept


def test_so_is_the_parse_pass(spark: SparkSession, tmp_path: Path) -> None:
    assert Scan("main", spark, None, HALLWAY.ingests[:1], (), (), 1, b"key", tmp_path)._parse.is_kept
