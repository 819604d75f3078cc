"""Two tables are one, or their difference is counted; what may lie apart, and how far."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from datasketches import HLL_8, hll_sketch, hll_union
from hypothesis import given, settings
from hypothesis import strategies as st

from promolake.core.table import Column, Table, Written
from promolake.engine.arrow import arrow_schema
from promolake.engine.comparing import Difference, bound, difference, exactly, within_error

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


def found(held: Iterable[dict[str, Any]], expected: Iterable[dict[str, Any]]) -> Difference:
    """What is found by the functions of the house."""
    return difference(LOADS, *(pa.Table.from_pylist(list(rows), arrow_schema(LOADS)) for rows in (held, expected)), exactly)


def found_by_sql(held: dict[str, Any], expected: dict[str, Any]) -> int:
    """How many rows change when one is held and an oracle expects the other."""
    rows = pa.Table.from_pylist([held], arrow_schema(LOADS)), pa.Table.from_pylist([expected], COUNTED)
    return difference(LOADS, *rows, within_error(1)).changed


def sketch(names: Iterable[str], bits: int = 12) -> bytes:
    made = hll_sketch(bits, HLL_8)
    for name in names:
        made.update(name)
    return made.serialize_updatable()


def test_the_same_rows_in_any_order_are_no_difference_and_null_equals_null() -> None:
    rows = [row("web-1"), row("web-2", None, None), row(None)]
    assert found(rows, reversed(rows)) == Difference()
    assert found([], []) == Difference()


def test_each_kind_of_difference_is_counted_and_one_is_told_without_the_address() -> None:
    held = [row("web-1", count=2), row("web-2"), row("web-3", None), row("web-3", 1.0)]
    expected = [row("web-1"), row("web-3"), row("web-4"), row("web-5")]
    assert found(held, expected) == Difference(2, 2, 2, "window_start 2026-11-11T00:00:00Z, host 'web-1': sample_count")
    assert found([row("web-2")], []).example == "window_start 2026-11-11T00:00:00Z, host 'web-2': extra"
    assert found([], [row("web-2\x1b[31m")]).example == "window_start 2026-11-11T00:00:00Z, host 'web-2\\x1b[31m': missing"


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(*(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2)), max_size=6) for _ in range(2)))
def test_there_is_a_difference_exactly_when_the_rows_are_not_the_same_ones(one: list, other: list) -> None:
    held, expected = ([row(host, count=count) for host, count in rows] for rows in (one, other))
    difference = found(held, expected)
    assert (difference.rows == 0) == (sorted(one) == sorted(other))
    assert len(one) + difference.missing == len(other) + difference.extra


def test_a_double_may_lie_apart_by_the_order_of_its_sum_from_sql_and_by_nothing_else() -> None:
    in_another_order = row(load=0.1 + 0.2), row(load=0.3)
    assert found(*([one] for one in in_another_order)).changed == 1
    assert found_by_sql(*in_another_order) == 0
    assert found_by_sql(row(load=0.3 * (1 + 1e-9)), row(load=0.3)) == 1
    assert found_by_sql(row(load=None), row(load=0.0)) == 1
    assert found_by_sql(row(load=None), row(load=None)) == 0


@pytest.mark.parametrize("n", [1, 8, 100, 190, 250, 400, 5_000, 20_000])
def test_a_sketch_is_the_same_however_it_was_fed_and_another_when_it_saw_others(n: int) -> None:
    names = [f"visitor {k}" for k in range(n)]
    union = hll_union(12)
    for part in (names[::-3], names[1::2], names[::2]):
        union.update(hll_sketch.deserialize(sketch(part)))
    parts = union.get_result(HLL_8).serialize_updatable()
    assert parts != sketch(names) or n < 250
    assert found([row(sketch=parts)], [row(sketch=sketch(names))]).changed == 0
    others = sketch([*names[1:], *(f"another {k}" for k in range(1 + n // 50))])
    assert found([row(sketch=others)], [row(sketch=sketch(names))]).changed == 1
    assert found([row(sketch=b"none")], [row(sketch=sketch(names))]).changed == 1
    assert found([row(sketch=None)], [row(sketch=sketch(names))]).changed == 1


@pytest.mark.parametrize(
    ("size", "count", "changed"), [(1_000, 1_000, 0), (1_000, 1_200, 1), (1_000, 800, 1), (10, 10, 0), (10, 11, 1), (10, 9, 1)]
)
def test_an_estimate_may_lie_three_standard_errors_off_the_exact_count(size: int, count: int, changed: int) -> None:
    held = row(sketch=sketch(f"visitor {k}" for k in range(size)))
    assert found_by_sql(held, row() | {"visitor_sketch": count}) == changed


def test_the_bound_is_three_for_one_sketch_and_grows_so_that_many_pass_as_one_would() -> None:
    assert bound(1) == pytest.approx(3)
    outside = 1 - math.erf(3 / math.sqrt(2))
    for sketches in (10, 1_440, 100_000):
        each = 1 - math.erf(bound(sketches) / math.sqrt(2))
        assert 1 - (1 - each) ** sketches == pytest.approx(outside, rel=0.01)
