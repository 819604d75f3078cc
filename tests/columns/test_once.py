"""A value computed once a row, however often what is made of it refers to it."""

from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F

from frames import evaluated
from promolake.columns.once import once


def test_what_refers_to_a_value_twice_sees_one_computation(spark: SparkSession) -> None:
    def pair(given: Column) -> Column:  # two calls of random() by themselves differ
        return once(F.concat(given, F.uuid()), lambda made: F.struct(made.alias("left"), made.alias("right")))

    def apart(given: Column) -> Column:
        return F.struct(F.concat(given, F.uuid()).alias("left"), F.concat(given, F.uuid()).alias("right"))

    rows = evaluated(spark, ["a", "b", "c"], pair)
    assert [row["left"] for row in rows] == [row["right"] for row in rows]
    assert len({row["left"] for row in rows}) == 3
    assert all(row["left"] != row["right"] for row in evaluated(spark, ["a", "b", "c"], apart))


def test_null_is_a_value_as_any_other(spark: SparkSession) -> None:
    assert evaluated(spark, [None, "a"], lambda given: once(given, lambda it: F.coalesce(it, F.lit("none")))) == ["none", "a"]


def test_one_may_stand_in_another_and_see_both_values(spark: SparkSession) -> None:
    found = evaluated(spark, ["a"], lambda given: once(F.upper(given), lambda x: once(F.repeat(x, 2), lambda y: F.concat_ws("-", x, y, x))))
    assert found == ["A-AA-A"]
