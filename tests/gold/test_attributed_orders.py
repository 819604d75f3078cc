"""Which view and which search led to each paid line: the latest of the thirty minutes before, the same however the matches come in."""

import random
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession

from drawn import drawn
from frames import assert_rows, at, computed, frame
from promolake.gold.attributed_orders import FLOW, TABLE, settled

LINE = {"event_id": "o-1", "event_time": at("12:00:00"), "order_id": "A", "line_number": 1, "user_hash": "u1", "product_id": "p1",
        "currency": "CNY", "line_amount": Decimal(10)}  # fmt: skip
PAID = LINE | {"status": "PAID"}
UNATTRIBUTED = {"view_id": None, "viewed_at": None, "search_id": None, "searched_at": None}


def view(name: str, clock: str, **others: Any) -> dict[str, Any]:
    return {"event_id": name, "event_time": at(clock), "user_hash": "u1", "product_id": "p1"} | others


def search(name: str, clock: str, **others: Any) -> dict[str, Any]:
    return {"event_id": name, "event_time": at(clock), "user_hash": "u1"} | others


def attributed(spark: SparkSession, lines: list[dict[str, Any]], views: list[dict[str, Any]], searches: list[dict[str, Any]]) -> DataFrame:
    return settled(computed(spark, FLOW, lines, views, searches))


def viewed(name: str, clock: str) -> dict[str, Any]:
    return {"view_id": name, "viewed_at": at(clock)}


def searched(name: str, clock: str) -> dict[str, Any]:
    return {"search_id": name, "searched_at": at(clock)}


def test_a_line_has_the_latest_view_of_its_product_and_the_latest_search_for_anything(spark: SparkSession) -> None:
    views = [view("v-1", "11:40:00"), view("v-2", "11:50:00"), view("v-3", "11:55:00", product_id="p2")]
    searches = [search("s-1", "11:59:59"), search("s-2", "11:45:00")]
    expected = LINE | viewed("v-2", "11:50:00") | searched("s-1", "11:59:59")
    assert_rows(attributed(spark, [PAID], views, searches), spark, TABLE, [expected])


@pytest.mark.parametrize(
    ("clock", "counts"),
    [("11:30:00", True), ("11:29:59.999999", False), ("12:00:00", True), ("12:00:00.000001", False)],
    ids=["exactly 30 minutes before", "a microsecond earlier", "at the same instant", "a microsecond after"],
)
def test_the_thirty_minutes_include_both_ends(spark: SparkSession, clock: str, counts: bool) -> None:
    expected = LINE | (viewed("v", clock) | searched("s", clock) if counts else UNATTRIBUTED)
    assert_rows(attributed(spark, [PAID], [view("v", clock)], [search("s", clock)]), spark, TABLE, [expected])


def test_of_two_at_the_same_instant_the_greater_id_counts(spark: SparkSession) -> None:
    views = [view("v-1", "11:50:00"), view("v-3", "11:50:00"), view("v-2", "11:50:00")]
    expected = LINE | viewed("v-3", "11:50:00") | {"search_id": None, "searched_at": None}
    assert_rows(attributed(spark, [PAID], views, []), spark, TABLE, [expected])


def test_a_guests_line_is_never_attributed_but_appears(spark: SparkSession) -> None:
    guest = {"user_hash": None}
    views, searches = [view("v", "11:50:00", **guest)], [search("s", "11:50:00", **guest)]
    assert_rows(attributed(spark, [PAID | guest], views, searches), spark, TABLE, [LINE | guest | UNATTRIBUTED])


def test_what_others_did_leads_to_nothing(spark: SparkSession) -> None:
    other = {"user_hash": "u2"}
    found = attributed(spark, [PAID], [view("v", "11:50:00", **other)], [search("s", "11:50:00", **other)])
    assert_rows(found, spark, TABLE, [LINE | UNATTRIBUTED])


def test_only_paid_lines_appear_and_each_line_of_an_order_by_itself(spark: SparkSession) -> None:
    second = {"event_id": "o-2", "line_number": 2, "product_id": "p2"}
    lines = [PAID, PAID | second, *(LINE | {"event_id": f"o-{status}", "status": status} for status in ("PLACED", "CANCELLED", "REFUNDED"))]
    none = {"search_id": None, "searched_at": None}
    expected = [LINE | viewed("v", "11:50:00") | none, LINE | second | UNATTRIBUTED]
    assert_rows(attributed(spark, lines, [view("v", "11:50:00")], []), spark, TABLE, expected)


# --- settled: however the matches come in, in whatever parts, the same rows ------------------------------------------------------

CLOCKS = st.sampled_from(["11:30:00", "11:45:00", "11:50:00"])
NAMES = st.sampled_from(["1", "2", "3"])
MATCHES = st.one_of(
    st.just(UNATTRIBUTED),
    st.builds(lambda name, clock: UNATTRIBUTED | viewed(f"v-{name}", clock), NAMES, CLOCKS),
    st.builds(lambda name, clock: UNATTRIBUTED | searched(f"s-{name}", clock), NAMES, CLOCKS),
)


@pytest.fixture(scope="module")
def candidates() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Two batches of candidates for many lines."""
    examples = drawn(st.tuples(st.lists(MATCHES, max_size=4), st.lists(MATCHES, min_size=1, max_size=4)), 100)
    lines = [(LINE | {"event_id": f"o-{n}"}, batches) for n, batches in enumerate(examples)]
    first, second = ([line | match for line, batches in lines for match in batches[part]] for part in (0, 1))
    return first, second


def rows(found: DataFrame) -> list[Any]:
    return sorted(found.collect(), key=lambda row: row["event_id"])


def test_settling_what_stands_with_what_is_new_is_settling_everything(spark: SparkSession, candidates) -> None:
    first, second = (frame(spark, TABLE, batch) for batch in candidates)
    together = rows(settled(first.union(second)))
    assert rows(settled(settled(first).union(second))) == together
    assert len(together) == len({row["event_id"] for row in together})


def test_settling_again_and_in_another_order_changes_nothing(spark: SparkSession, candidates) -> None:
    everything = [row for batch in candidates for row in batch]
    once = rows(settled(frame(spark, TABLE, everything)))
    shuffled = random.Random(7).sample(everything * 2, 2 * len(everything))
    assert rows(settled(frame(spark, TABLE, shuffled))) == once
    assert rows(settled(settled(frame(spark, TABLE, everything)))) == once


def test_a_settled_line_has_the_greatest_of_its_matches(spark: SparkSession, candidates) -> None:
    everything = [row for batch in candidates for row in batch]
    for row in rows(settled(frame(spark, TABLE, everything))):
        own = [candidate for candidate in everything if candidate["event_id"] == row["event_id"]]
        views = [(candidate["viewed_at"], candidate["view_id"]) for candidate in own if candidate["view_id"]]
        searches = [(candidate["searched_at"], candidate["search_id"]) for candidate in own if candidate["search_id"]]
        assert row["view_id"] == (max(views)[1] if views else None)
        assert row["search_id"] == (max(searches)[1] if searches else None)
