"""A plan that is kept answers for the rows it is given, never for those of the run before."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from promolake.engine import prepared as preparing
from promolake.engine.parsing import Parser
from promolake.engine.prepared import Part, Prepared
from promolake.engine.scan import _schemas
from promolake.hallway import HALLWAY

pytestmark = pytest.mark.spark
SCHEMA = "word string, n bigint"


def rows(*pairs: tuple[str, int]) -> pa.Table:
    return pa.table({"word": pa.array([w for w, _ in pairs], pa.string()), "n": pa.array([n for _, n in pairs], pa.int64())})


def sums(words: DataFrame) -> DataFrame:
    return words.groupBy("word").agg(F.sum("n").alias("n"))


def prepared(spark: SparkSession, spool: Path, function: Callable[..., DataFrame]) -> Prepared:
    return Prepared(spark, spool, {"it": Part([SCHEMA], function)})


def answered(one: Prepared, *inputs: pa.Table) -> list[tuple]:
    return sorted(tuple(row.values()) for row in one.run({"it": inputs})["it"].to_pylist())


def test_each_run_answers_for_its_own_rows(spark: SparkSession, tmp_path: Path) -> None:
    one = prepared(spark, tmp_path, sums)
    assert one.kept == {"it"}
    assert answered(one, rows(("a", 1), ("b", 2), ("a", 3))) == [("a", 4), ("b", 2)]
    assert answered(one, rows(("c", 7))) == [("c", 7)]
    assert answered(one, rows()) == []
    assert answered(one, rows(*(("a", n) for n in range(1000)))) == [("a", 499500)]


def test_preparing_asks_spark_for_no_rows(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None at all are asked for by a job, and of a Python worker, which Spark ends with a traceback on the terminal when it was idle."""

    def asked(frame: DataFrame) -> pa.Table:
        raise AssertionError("a job")

    with monkeypatch.context() as watched:
        watched.setattr(type(spark.range(1)), "toArrow", asked)
        one = prepared(spark, tmp_path, sums)
    assert one.kept == {"it"}
    assert answered(one) == []


def test_a_large_batch_is_there_whole_and_in_its_order(spark: SparkSession, tmp_path: Path) -> None:
    """Of the file the plan knows a length of some hundred bytes: what began behind it would not be read."""
    one = prepared(spark, tmp_path, lambda words: words.select("word", "n"))
    long = rows(*((f"{n % 977:05d}" * 100, n) for n in range(200_000)))
    assert long.nbytes > 95_000_000
    assert one.run({"it": [long]})["it"].equals(long)


def test_a_full_disk_fails_the_run_and_the_next_answers_for_its_own_rows(spark: SparkSession, tmp_path: Path) -> None:
    one = Prepared(spark, tmp_path, {"it": Part([SCHEMA, SCHEMA], lambda left, right: sums(left.unionAll(right)))})
    assert answered(one, rows(("a", 1)), rows(("a", 1))) == [("a", 2)]
    file = tmp_path / "it.1.orc"
    file.unlink()
    file.symlink_to("/dev/full")
    for second in (rows(("b", 1)), rows()):  # rows, and none in the place of some
        with pytest.raises(OSError, match="No space left"):
            one.run({"it": [rows(("a", 5)), second]})
    file.unlink()
    assert answered(one, rows(("c", 3)), rows()) == [("c", 3)]


def test_every_type_of_the_house_comes_back_as_it_went(spark: SparkSession, tmp_path: Path) -> None:
    """Instants before 1970 among them: -1 is Kafka's "no timestamp", and ORC keeps seconds and their fraction apart."""
    schema = "t timestamp, b binary, d decimal(38,18), x double, f boolean, a array<struct<key:string,value:binary>>"
    types = spark.createDataFrame([], schema).toArrow().schema
    times = [datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=n) for n in (-1_000, -1, 0, 1, -1_500_000, 1_731_283_200_123_456)]
    rows = [
        {"t": t, "b": bytes([0, 255, n]), "d": Decimal(n).scaleb(-18), "x": n / 3, "f": n % 2 == 0, "a": [{"key": "k", "value": b"\0"}] * n}
        for n, t in enumerate(times)
    ]
    given = pa.Table.from_pylist([*rows, {}], types)
    one = Prepared(spark, tmp_path, {"it": Part([schema], lambda frame: frame.select("*"))})
    assert one.run({"it": [given]})["it"].to_pylist() == given.to_pylist()


def test_parts_run_together_and_each_gets_its_own_rows(spark: SparkSession, tmp_path: Path) -> None:
    both = Prepared(
        spark, tmp_path, {"sums": Part([SCHEMA], sums), "lengths": Part([SCHEMA], lambda words: words.select(F.length("word").alias("n")))}
    )
    assert both.kept == {"sums", "lengths"}
    found = both.run({"sums": [rows(("a", 1), ("a", 2))], "lengths": [rows(("abc", 1))]})
    assert {name: table.to_pylist() for name, table in found.items()} == {"sums": [{"word": "a", "n": 3}], "lengths": [{"n": 3}]}
    assert both.run({"lengths": [rows(("ab", 1))]})["lengths"].to_pylist() == [{"n": 2}]
    assert both.run({"sums": [rows()]})["sums"].to_pylist() == []


def self_joined(words: DataFrame) -> DataFrame:
    return words.join(F.broadcast(words.select("word").distinct()), "word").select("word", "n")


def shuffled(words: DataFrame) -> DataFrame:
    return sums(words.repartition(2, "word"))


def twice(function: Callable[[DataFrame], DataFrame]) -> Callable[[DataFrame], DataFrame]:
    """With a second reader, who finds nothing in it: Spark makes what both read once, and says so in the plan."""
    return lambda words: function(words).unionAll(function(words).where("n < 0"))


@pytest.mark.parametrize("function", [shuffled, self_joined, twice(shuffled), twice(self_joined)])
def test_a_plan_that_would_keep_rows_is_made_anew(spark: SparkSession, tmp_path: Path, function: Callable[[DataFrame], DataFrame]) -> None:
    """A shuffle's files, or a broadcast of the rows, stay with the plan: run again it would answer with the first batch."""
    both = Prepared(spark, tmp_path, {"it": Part([SCHEMA], function), "other": Part([SCHEMA], sums)})
    assert both.kept == {"other"}
    assert answered(both, rows(("a", 1))) == [("a", 1)]
    assert answered(both, rows(("b", 2))) == [("b", 2)]


def test_a_broadcast_of_something_else_may_stay(spark: SparkSession, tmp_path: Path) -> None:
    names = spark.createDataFrame([("a", "alpha"), ("b", "beta")], "word string, name string")
    one = prepared(spark, tmp_path, lambda words: words.join(F.broadcast(names), "word").select("name", "n"))
    assert one.kept == {"it"}
    assert answered(one, rows(("a", 1))) == [("alpha", 1)]
    assert answered(one, rows(("b", 2), ("c", 3))) == [("beta", 2)]


def test_so_it_may_when_two_parts_share_it_and_they_are_planned_together(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []

    def looked(frame: DataFrame, keeps_rows: Callable[[DataFrame], bool] = preparing._keeps_rows) -> bool:
        looked_at.append(frame._jdf.queryExecution().executedPlan().toString())
        return keeps_rows(frame)

    monkeypatch.setattr(preparing, "_keeps_rows", looked)
    names = spark.createDataFrame([("a", "alpha"), ("b", "beta")], "word string, name string")
    named = Part([SCHEMA], lambda words: words.join(F.broadcast(names), "word").select("name", "n"))
    both = Prepared(spark, tmp_path, {"it": named, "other": named})
    (plan,) = looked_at
    assert "ReusedExchange" in plan
    assert answered(both, rows(("a", 1))) == [("alpha", 1)]
    assert answered(both, rows(("b", 2))) == [("beta", 2)]


def test_every_metric_of_the_house_is_planned_once(spark: SparkSession, tmp_path: Path) -> None:
    parts = {metric.table.short: Part(_schemas(metric.reads), metric.function) for metric in HALLWAY.metrics}
    assert Prepared(spark, tmp_path, parts).kept == set(parts)


def test_so_is_the_parse_pass(spark: SparkSession, tmp_path: Path) -> None:
    parser = Parser(spark, tmp_path, HALLWAY.ingests, b"key")
    assert parser.kept == {flow.table.short for flow in HALLWAY.ingests}
    parser.close()
