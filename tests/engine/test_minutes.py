"""Which minutes a batch touched: everything it touched is computed anew, and nothing it did not."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from promolake.core.flow import Metric, Reads
from promolake.core.table import Column, Table, Written
from promolake.engine.arrow import arrow_schema
from promolake.engine.lakehouse import Lakehouse, Txn
from promolake.engine.minutes import MAX_RANGES, Minutes, joined_up

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


def metric(*reads: Reads) -> Metric:
    table = Table("gold.answers", "Answers.", (Column("window_start", "timestamp", "Minute."),), Written.REPLACE, ("window_start",))
    return Metric(table, reads, lambda *frames: frames[0])


BOTH = (Reads(EVENTS, ("event_id", "event_time")), Reads(OTHERS, ("event_id", "event_time")))


def ids(found: list[pa.Table]) -> list[list[str]]:
    return [sorted(one["event_id"].to_pylist()) for one in found]


def test_exactly_the_rows_of_the_touched_minutes_come_of_every_input(tmp_path: Path) -> None:
    lake = Lakehouse(tmp_path)
    everywhere = [n / 2 for n in range(600)]  # twice a minute, five hours
    lake.append(EVENTS, rows(*everywhere), Txn("scan", 0))
    lake.append(OTHERS, rows(*everywhere, 7.999999), Txn("scan", 0))
    touched = [*range(0, 300, 4), 7]  # more minutes than ranges
    assert len(touched) > MAX_RANGES
    new = {"silver.events": rows(*(m + 0.25 for m in touched[:40])), "silver.others": rows(*(m + 0.99 for m in touched[40:]))}
    found = ids(Minutes(lake, [metric(*BOTH)]).touched(BOTH, new))
    expected = [f"e{m}" for m in everywhere if int(m) in touched]
    assert found[0] == sorted([*expected, *new["silver.events"]["event_id"].to_pylist()])
    assert found[1] == sorted([*expected, "e7.999999", *new["silver.others"]["event_id"].to_pylist()])


def test_an_input_without_new_rows_is_read_in_the_minutes_of_the_others(tmp_path: Path) -> None:
    lake = Lakehouse(tmp_path)
    lake.append(OTHERS, rows(1, 1.5, 2), Txn("scan", 0))
    found = Minutes(lake, [metric(*BOTH)]).touched(BOTH, {"silver.events": rows(1.2), "silver.others": rows()})
    assert ids(found) == [["e1.2"], ["e1", "e1.5"]]


BATCHES = st.lists(st.lists(st.integers(0, 60), max_size=8, unique=True), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(BATCHES, st.data())
def test_what_is_kept_answers_as_silver_does_whatever_fails_and_is_tried_again(batches: list[list[int]], data: st.DataObject) -> None:
    """A batch may fail before or after silver has it, and is then tried again by the same process or by the next."""
    with tempfile.TemporaryDirectory() as home, pytest.MonkeyPatch.context() as patch:
        patch.setattr("promolake.engine.minutes.MAX_ROWS", 10)
        lake, sent = Lakehouse(Path(home)), set()
        minutes = Minutes(lake, [metric(BOTH[0])])
        for number, batch in enumerate(batches):
            ours = [n / 4 for n in batch if n / 4 not in sent]
            new = {"silver.events": rows(*ours)}
            for fate in [*data.draw(st.lists(st.sampled_from(["before silver", "after silver", "the process"]), max_size=2)), "none"]:
                found = ids(minutes.touched(BOTH[:1], new))
                touched = {int(n) for n in ours}
                assert found == [sorted(f"e{n}" for n in {*sent, *ours} if int(n) in touched)]
                if fate != "before silver":
                    lake.append(EVENTS, new["silver.events"], Txn("scan", number))
                if fate == "none":
                    minutes.take_in(new)
                elif fate == "the process":
                    minutes = Minutes(lake, [metric(BOTH[0])])
                else:
                    minutes.forget()
            sent |= set(ours)


def test_minutes_lately_touched_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lakehouse(tmp_path)
    minutes = Minutes(lake, [metric(BOTH[0])])
    minutes.touched(BOTH[:1], {"silver.events": rows(1)})
    minutes.take_in({"silver.events": rows(1)})
    monkeypatch.setattr(lake, "read", lambda *_: pytest.fail("silver was read"))
    assert ids(minutes.touched(BOTH[:1], {"silver.events": rows(1.5)})) == [["e1", "e1.5"]]


def test_a_new_lake_is_not_read_while_all_it_holds_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lakehouse(tmp_path)
    minutes, wanted = Minutes(lake, [metric(BOTH[0])]), []
    whole = lake.read
    monkeypatch.setattr(lake, "read", lambda *asked: wanted.append(asked) or whole(*asked))
    for number, minute in enumerate((1, 90, 4, 1.5)):
        new = {"silver.events": rows(minute)}
        assert ids(minutes.touched(BOTH[:1], new)) == [["e1", "e1.5"] if minute == 1.5 else [f"e{minute}"]]
        lake.append(EVENTS, new["silver.events"], Txn("scan", number))
        minutes.take_in(new)
    assert wanted == []
    lake.append(EVENTS, rows(7), Txn("scan", 9))
    minutes.take_in({"silver.events": rows(7)})  # asked for by nobody, so not kept
    assert ids(minutes.touched(BOTH[:1], {"silver.events": rows(7.5)})) == [["e7", "e7.5"]]
    assert len(wanted) == 1
