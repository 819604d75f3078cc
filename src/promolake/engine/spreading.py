"""What `comparing` does in memory, done by Spark, wherever its executors are: counts and one example come to the driver, however many rows
differ. The same rules, in other words: tests hold both to one plain comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from promolake.core.table import Column, Table
from promolake.engine.comparing import RELATIVE, SKETCH, Difference, bound, key_of, shown_of, told

_SIDE, _NTH, _HELD, _EXPECTED = "_side", "_nth", "_held", "_expected"
_KINDS = ("missing", "extra", "changed")


@dataclass(frozen=True)
class Alike:
    """When two values count as one: `held` and `expected` say what of a sketch's column is looked at on either side, `near` whether
    values of a column that are not the same lie near enough."""

    held: Callable[[SparkColumn], SparkColumn]
    expected: Callable[[SparkColumn], SparkColumn]
    near: Callable[[Column, SparkColumn, SparkColumn], SparkColumn]


def difference(table: Table, held: DataFrame, expected: DataFrame, alike: Alike) -> Difference:
    """As comparing.difference."""
    key, shown = key_of(table), shown_of(table)
    wrong = _wrong(table, key, shown, _unmatched(table, key, held, expected, alike), alike)
    counts = [F.count_if(F.col("_kind") == kind).alias(kind) for kind in _KINDS]
    (found,) = wrong.agg(*counts, F.min(F.struct(*shown, "_kind", "_columns")).alias("first")).toArrow().to_pylist()
    first = found.pop("first")
    return Difference(**found, example=told(shown, *first.values()) if first else "")


def _unmatched(table: Table, key: Sequence[str], held: DataFrame, expected: DataFrame, alike: Alike) -> DataFrame:
    """The rows without an equal one on the other side, each as often as it is without; `_side` is true for those that are held."""

    def looked_at(rows: DataFrame, of_sketch: Callable[[SparkColumn], SparkColumn], side: int) -> DataFrame:
        columns = [of_sketch(F.col(name)).alias(name) if name.endswith(SKETCH) else F.col(name) for name in table.column_names]
        return rows.select(*columns, F.lit(side).alias(_SIDE))

    both = looked_at(held, alike.held, 1).unionAll(looked_at(expected, alike.expected, -1))
    # By its key alone, so that this is the only time the rows are sent to one another.
    more = both.repartition(*key).groupBy(*table.column_names).agg(F.sum(_SIDE).alias(_SIDE)).where(F.col(_SIDE) != 0)
    copies = more.withColumn(_NTH, F.explode(F.array_repeat(F.lit(0), F.abs(_SIDE).cast("int"))))
    return copies.select(*table.column_names, (F.col(_SIDE) > 0).alias(_SIDE))


def _wrong(table: Table, key: Sequence[str], shown: Sequence[str], unmatched: DataFrame, alike: Alike) -> DataFrame:
    """What is wrong: of each such row the `shown` columns, its `_kind`, and the names of the `_columns` that differ."""
    figures = [column for column in table.columns if column.name not in key]
    names = [column.name for column in figures]
    order = Window.partitionBy(*key, _SIDE).orderBy(*names)
    numbered = unmatched.withColumn(_NTH, F.row_number().over(order))
    sides = [F.max(F.when(F.col(_SIDE) == side, F.struct(*names))).alias(name) for name, side in ((_HELD, True), (_EXPECTED, False))]
    pairs = numbered.groupBy(*key, _NTH).agg(*sides)
    h, e = F.col(_HELD), F.col(_EXPECTED)
    changes = [F.when(~_same(column, h[column.name], e[column.name], alike), column.name) for column in figures]
    is_pair = h.isNotNull() & e.isNotNull()
    kind = F.when(is_pair, "changed").when(h.isNull(), "missing").when(e.isNull(), "extra")
    said = pairs.select(
        *(F.col(name) if name in key else F.coalesce(h[name], e[name]).alias(name) for name in shown),
        kind.alias("_kind"),
        F.when(is_pair, F.filter(F.array(*changes), lambda name: name.isNotNull())).alias("_columns"),
    )
    return said.where((F.col("_kind") != "changed") | (F.size("_columns") > 0))


def _same(column: Column, held: SparkColumn, expected: SparkColumn, alike: Alike) -> SparkColumn:
    return held.eqNullSafe(expected) | F.coalesce(alike.near(column, held, expected), F.lit(False))


# --- what counts as the same ----------------------------------------------------------------------------------------------------

# A sketch as Apache DataSketches writes it for updating: bytes 2 and 3 say that it is one, 4 how many registers it has (a power of 2),
# 5 the size of its table (likewise), 8 what it holds: few visitors as a list or table of words, many as registers.
_LIST, _TABLE, _REGISTERS = b"\x08", b"\x09", b"\x0a"


def _members(sketch: SparkColumn) -> SparkColumn:
    """What a sketch holds, whatever order it was fed in: its registers, or its words sorted. Bytes that are none stand for themselves."""
    mode, size = F.substring(sketch, 8, 1), F.octet_length(sketch)
    words = F.transform(F.sequence(F.lit(9), size, F.lit(4)), lambda place: sketch.substr(place, F.lit(4)))
    words = F.array_sort(F.filter(words, lambda word: word != F.lit(bytes(4))))
    held = (
        F.when((mode == F.lit(_REGISTERS)) & (size > 40), F.array(sketch.substr(F.lit(41), size)))
        .when(mode.isin(_LIST, _TABLE) & (size > 8), words)
        .otherwise(F.array(sketch))
    )
    return F.concat(F.array(F.substring(sketch, 1, 4), mode), held)


def _estimated(sketch: SparkColumn) -> SparkColumn:
    """A sketch's estimate, a whole number, and the standard error of such, relative: 1.04 / sqrt(registers). -1 for bytes that are none."""

    def number(place: int) -> SparkColumn:
        return F.conv(F.hex(F.substring(sketch, place, 1)), 16, 10).cast("int")

    mode, registers = F.substring(sketch, 8, 1), F.pow(F.lit(2), number(4))
    size = (
        F.when(mode == F.lit(_LIST), 40)
        .when(mode == F.lit(_TABLE), 12 + 4 * F.pow(F.lit(2), number(5)))
        .when(mode == F.lit(_REGISTERS), 40 + registers)
    )
    is_one = F.coalesce((F.substring(sketch, 2, 2) == F.lit(b"\x01\x07")) & (F.octet_length(sketch) == size), F.lit(False))
    estimate = F.when(is_one, F.hll_sketch_estimate(sketch)).otherwise(-1)
    return F.when(sketch.isNotNull(), _count_and_error(estimate, 1.04 / F.sqrt(registers)))


def _exact(count: SparkColumn) -> SparkColumn:
    return F.when(count.isNotNull(), _count_and_error(count, F.lit(None)))


def _count_and_error(count: SparkColumn, error: SparkColumn) -> SparkColumn:
    return F.struct(count.cast("bigint").alias("count"), error.cast("double").alias("error"))


exactly = Alike(_members, _members, lambda *_: F.lit(False))
"""Values are the same or differ; sketches are the same when they are of the same set."""


def within_error(rows: int) -> Alike:
    """As comparing.within_error."""
    sigmas = bound(rows)

    def near(column: Column, held: SparkColumn, expected: SparkColumn) -> SparkColumn:
        if column.name.endswith(SKETCH):
            return F.abs(held["count"] - expected["count"]) <= sigmas * held["error"] * expected["count"]
        if column.type == "double":
            return F.abs(held - expected) < RELATIVE * F.greatest(F.abs(held), F.abs(expected))
        return F.lit(False)

    return Alike(_estimated, _exact, near)
