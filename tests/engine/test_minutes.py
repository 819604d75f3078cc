"""Which minutes a batch touched: everything it touched is computed anew, and nothing it did not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from promolake.core.flow import Reads
from promolake.core.table import Column, Table
from promolake.engine.arrow import arrow_schema
from promolake.engine.lakehouse import Lakehouse, Txn
from promolake.engine.minutes import MAX_RANGES, joined_up, touched_rows

MIDNIGHT = datetime(2026, 11, 11, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
EVENTS = Table(
    "silver.events",
    "Events.",
    (Column("event_id", "string", "The event."), Column("event_time", "timestamp", "Its time.")),
    stats=("event_time",),
)
OTHERS = Table("silver.others", "Other events.", EVENTS.columns, stats=EVENTS.stats)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.sets(st.integers(0, 400), min_size=0, max_size=200))
@example(set(range(0, 400, 2)))
@example(set(range(400)))
def test_ranges_cover_every_touched_minute_in_order_and_are_few(touched: set[int]) -> None:
    minutes = [MIDNIGHT + n * MINUTE for n in sorted(touched)]
    ranges = joined_up([(minute, minute + MINUTE) for minute in minutes])
    assert len(ranges) <= MAX_RANGES
    assert all(low < high for low, high in ranges)
    gaps = [later[0] - earlier[1] for earlier, later in pairwise(ranges)]
    assert all(gap > timedelta() for gap in gaps)
    assert all(any(low <= minute < high for low, high in ranges) for minute in minutes)
    assert {low for low, _ in ranges} <= set(minutes)
    assert {high - MINUTE for _, high in ranges} <= set(minutes)
    covered = sum(((high - low) // MINUTE for low, high in ranges), 0)
    wanted = sorted((later - earlier - MINUTE for earlier, later in pairwise(minutes)), reverse=True)
    closed = [gap for gap in wanted[MAX_RANGES - 1 :] if gap]
    assert covered == len(minutes) + sum(gap // MINUTE for gap in closed), "other gaps were closed than the narrowest"


def rows(*minutes: float) -> pa.Table:
    return pa.Table.from_pylist([{"event_id": f"e{m}", "event_time": MIDNIGHT + m * MINUTE} for m in minutes], schema=arrow_schema(EVENTS))


def test_exactly_the_rows_of_the_touched_minutes_are_read_of_every_input(tmp_path: Path) -> None:
    lake = Lakehouse(tmp_path)
    everywhere = [n / 2 for n in range(600)]  # twice a minute, five hours
    lake.append(EVENTS, rows(*everywhere), Txn("scan", 0))
    lake.append(OTHERS, rows(*everywhere, 7.999999), Txn("scan", 0))
    reads = (Reads(EVENTS, ("event_id", "event_time")), Reads(OTHERS, ("event_id", "event_time")))
    touched = [*range(0, 300, 4), 7]  # more minutes than ranges
    assert len(touched) > MAX_RANGES
    times = [rows(*(m + 0.25 for m in touched[:40]))["event_time"], rows(*(m + 0.99 for m in touched[40:]))["event_time"]]
    found = touched_rows(lake, reads, times)
    expected = sorted(f"e{m}" for m in everywhere if int(m) in touched)
    assert sorted(found[0]["event_id"].to_pylist()) == expected
    assert sorted(found[1]["event_id"].to_pylist()) == sorted([*expected, "e7.999999"])


def test_an_input_without_new_rows_is_read_in_the_minutes_of_the_others(tmp_path: Path) -> None:
    lake = Lakehouse(tmp_path)
    lake.append(OTHERS, rows(1, 1.5, 2), Txn("scan", 0))
    reads = (Reads(EVENTS, ("event_id", "event_time")), Reads(OTHERS, ("event_id", "event_time")))
    found = touched_rows(lake, reads, [rows(1.2)["event_time"], rows()["event_time"]])
    assert [one["event_id"].to_pylist() for one in found] == [[], ["e1", "e1.5"]]
