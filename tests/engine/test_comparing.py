"""Two tables are one, or their difference is counted, in memory and by Spark alike; what may lie apart, and how far."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from datasketches import HLL_8, hll_sketch, hll_union
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from promolake.core.table import Column, Table, Written
from promolake.engine import comparing, spreading
from promolake.engine.arrow import arrow_schema
from promolake.engine.comparing import Difference, bound

MINUTE = datetime(2026, 11, 11, tzinfo=UTC)
LOADS = Table(
    "gold.loads_per_minute",
    "Loads.",
    (
        Column("window_start", "timestamp", "Start."),
        Column("host", "string", "The machine."),
        Column("ip", "string", "An address."),
        Column("load_avg", "double", "Average."),
        Column("sample_count", "bigint", "Samples."),
        Column("visitor_sketch", "binary", "Sketch."),
    ),
    Written.REPLACE,
    grain=("window_start", "host", "ip"),
    stats=("window_start",),
)


def row(host: str | None = "web-1", load: float | None = 0.5, count: int | None = 1, sketch: bytes | None = None) -> dict[str, Any]:
    return {"window_start": MINUTE, "host": host, "ip": "203.0.113.9", "load_avg": load, "sample_count": count, "visitor_sketch": sketch}


COUNTED = pa.schema([pa.field(f.name, pa.int64()) if f.name == "visitor_sketch" else f for f in arrow_schema(LOADS)])
"""As an oracle answers: the exact count stands in the place of the sketch."""


class Way:
    """One of the two ways to compare."""

    def __init__(self, module: Any, made: Callable[[pa.Table], Any]) -> None:
        self._module = module
        self._made = made

    def found(self, held: Iterable[dict[str, Any]], expected: Iterable[dict[str, Any]], table: Table = LOADS) -> Difference:
        """What is found by the functions of the house."""
        rows = (self._made(pa.Table.from_pylist(list(rows), plain(arrow_schema(table)))) for rows in (held, expected))
        return self._module.difference(table, *rows, self._module.exactly)

    def found_by_sql(self, *pairs: tuple[dict[str, Any], dict[str, Any]]) -> int:
        """How many rows change when the first ones are held and an oracle expects the second ones."""
        numbered = [[one | {"ip": str(n)} for n, one in enumerate(side)] for side in zip(*pairs, strict=True)]
        held, expected = map(pa.Table.from_pylist, numbered, (plain(arrow_schema(LOADS)), plain(COUNTED)))
        rows = self._made(held), self._made(expected)
        return self._module.difference(LOADS, *rows, self._module.within_error(1)).changed


def plain(schema: pa.Schema) -> pa.Schema:
    return pa.schema([field.remove_metadata() for field in schema])


@pytest.fixture(params=["in memory", pytest.param("by Spark", marks=pytest.mark.spark)])
def way(request: pytest.FixtureRequest) -> Way:
    if request.param == "in memory":
        return Way(comparing, lambda rows: rows)
    return Way(spreading, request.getfixturevalue("spark").createDataFrame)


def sketch(names: Iterable[str], bits: int = 12) -> bytes:
    made = hll_sketch(bits, HLL_8)
    for name in names:
        made.update(name)
    return made.serialize_updatable()


def test_the_same_rows_in_any_order_are_no_difference_and_null_equals_null(way: Way) -> None:
    rows = [row("web-1"), row("web-2", None, None), row(None), row(None)]
    assert way.found(rows, reversed(rows)) == Difference()
    assert way.found([], []) == Difference()


def test_each_kind_of_difference_is_counted_and_one_is_told_without_the_address(way: Way) -> None:
    held = [row("web-1", count=2), row("web-2"), row("web-3", None), row("web-3", 1.0)]
    expected = [row("web-1"), row("web-3"), row("web-4"), row("web-5")]
    assert way.found(held, expected) == Difference(2, 2, 2, "window_start 2026-11-11T00:00:00Z, host 'web-1': sample_count")
    assert way.found([row("web-2")], []).example == "window_start 2026-11-11T00:00:00Z, host 'web-2': extra"
    assert way.found([], [row("web-2\x1b[31m")]).example == "window_start 2026-11-11T00:00:00Z, host 'web-2\\x1b[31m': missing"


EVENTS = Table(
    "silver.events",
    "Of every kind of column.",
    (
        Column("event_time", "timestamp", "When."),
        Column("partition", "int", "Kafka partition."),
        Column("offset", "bigint", "Kafka offset."),
        Column("amount", "decimal(28,4)", "Money."),
        Column("load", "double", "A measure."),
        Column("payload", "binary", "Bytes."),
        Column("violations", "array<string>", "Reasons."),
        Column("headers", "array<struct<key:string,value:binary>>", "Headers."),
        Column("is_page_view", "boolean", "Whether."),
    ),
    stats=("event_time",),
)
VALUES = {
    "amount": [Decimal("99999999999999999999999.0001"), Decimal("99999999999999999999999.0002")],
    "load": [0.3, 0.1 + 0.2, math.inf],
    "payload": [b"", b"\x00"],
    "violations": [[], ["a"], [None]],
    "headers": [[{"key": "k", "value": b"v"}], [{"key": "k", "value": None}]],
    "is_page_view": [True, False],
}
PLACES = st.tuples(st.sampled_from([None, 0]), st.integers(0, 1))
ROWS = st.tuples(PLACES, st.sampled_from([(name, value) for name, values in VALUES.items() for value in (None, *values)]))


@settings(max_examples=12, deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(ROWS, st.sampled_from(["held", "expected", "both", "twice held"])), max_size=12))
def test_what_is_found_is_what_a_plain_comparison_of_two_heaps_finds(spark: SparkSession, drawn: list) -> None:
    held = [one for one, where in drawn for _ in range({"held": 1, "expected": 0, "both": 1, "twice held": 2}[where])]
    expected = [one for one, where in drawn if where != "held"]
    missing, extra, changed = compared_plainly(held, expected)
    for one in (Way(comparing, lambda rows: rows), Way(spreading, spark.createDataFrame)):
        found = one.found(map(event, held), map(event, expected), EVENTS)
        assert (found.missing, found.extra, found.changed) == (missing, extra, changed)
        assert bool(found.example) == bool(found.rows)


def event(drawn: tuple) -> dict[str, Any]:
    (partition, offset), (name, value) = drawn
    return {"event_time": MINUTE, "partition": partition, "offset": offset, name: value}


def compared_plainly(held: list, expected: list) -> tuple[int, int, int]:
    """Missing, extra and changed: of the rows of one place, those without an equal one on the other side are matched, one for one."""
    counts = [0, 0, 0]
    for place in {one[0] for one in (*held, *expected)}:
        heaps = [Counter(told(one) for one in side if one[0] == place) for side in (held, expected)]
        more, less = ((heaps[n] - heaps[1 - n]).total() for n in range(2))
        counts = [counts[0] + max(less - more, 0), counts[1] + max(more - less, 0), counts[2] + min(more, less)]
    return counts[0], counts[1], counts[2]


def told(one: tuple) -> str:
    """A row in one word; all rows without a value are the same, whatever column it is missing in."""
    _, (name, value) = one
    return "" if value is None else f"{name} {value!r}"


def test_a_double_may_lie_apart_by_the_order_of_its_sum_from_sql_and_by_nothing_else(way: Way) -> None:
    in_another_order = row(load=0.1 + 0.2), row(load=0.3)
    assert way.found(*([one] for one in in_another_order)).changed == 1
    same = [in_another_order, (row(load=None), row(load=None)), (row(load=math.inf), row(load=math.inf))]
    assert way.found_by_sql(*same) == 0
    apart = [(row(load=0.3 * (1 + 1e-9)), row(load=0.3)), (row(load=None), row(load=0.0)), (row(load=0.0), row(load=None))]
    apart += [(row(load=math.inf), row(load=5.0)), (row(load=5.0), row(load=math.inf)), (row(load=-math.inf), row(load=math.inf))]
    assert way.found_by_sql(*same, *apart) == len(apart)


@pytest.mark.parametrize("n", [1, 8, 100, 190, 250, 400, 5_000, 20_000])
def test_a_sketch_is_the_same_however_it_was_fed_and_another_when_it_saw_others(way: Way, n: int) -> None:
    names = [f"visitor {k}" for k in range(n)]
    union = hll_union(12)
    for part in (names[::-3], names[1::2], names[::2]):
        union.update(hll_sketch.deserialize(sketch(part)))
    parts = union.get_result(HLL_8).serialize_updatable()
    assert parts != sketch(names) or n < 250
    assert way.found([row(sketch=parts)], [row(sketch=sketch(names))]).changed == 0
    others = sketch([*names[1:], *(f"another {k}" for k in range(1 + n // 50))])
    wrong = {"others": others, "no sketch": b"none", "no byte": b"", "cut": parts[:-5], "nothing": None}
    expected = [row(host, sketch=sketch(names)) for host in wrong]
    assert way.found([row(host, sketch=bytes_) for host, bytes_ in wrong.items()], expected).changed == len(wrong)


def test_an_estimate_may_lie_three_standard_errors_off_the_exact_count(way: Way) -> None:
    def pair(size: int, count: int | None) -> tuple[dict[str, Any], dict[str, Any]]:
        return row(sketch=sketch(f"visitor {k}" for k in range(size))), row() | {"visitor_sketch": count}

    near = [pair(1_000, 1_000), pair(10, 10), pair(300, 300)]
    assert way.found_by_sql(*near) == 0
    whole = near[0][0]["visitor_sketch"]
    far = [pair(1_000, 1_200), pair(1_000, 800), pair(10, 11), pair(10, 9), pair(10, None)]
    none = [(row(sketch=some), near[0][1]) for some in (None, b"junk", b"", whole[:-5])]
    assert way.found_by_sql(*near, *far, *none) == len(far) + len(none)


def test_the_bound_is_three_for_one_sketch_and_grows_so_that_many_pass_as_one_would() -> None:
    assert bound(1) == pytest.approx(3)
    outside = 1 - math.erf(3 / math.sqrt(2))
    for sketches in (10, 1_440, 100_000):
        each = 1 - math.erf(bound(sketches) / math.sqrt(2))
        assert 1 - (1 - each) ** sketches == pytest.approx(outside, rel=0.01)
