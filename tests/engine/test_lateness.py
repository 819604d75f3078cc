"""A late row is one well behind the newest event of its own source, and a replayed batch finds the same ones late."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pyarrow as pa

from promolake.engine.arrow import arrow_schema
from promolake.engine.lakehouse import Lakehouse, Txn
from promolake.engine.lateness import ALLOWED, Watermarks, restatements
from promolake.engine.ledger import LEDGER, entries, readmitted, recounted
from promolake.silver.orders import FLOW as ORDERS
from promolake.silver.views import FLOW as VIEWS

NOON = datetime(2026, 11, 11, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def orders(*times: datetime) -> pa.Table:
    given = [
        {"event_id": str(n), "event_time": time, "partition": 0, "offset": n, "ingested_at": NOON + timedelta(hours=1)}
        for n, time in enumerate(times)
    ]
    return pa.Table.from_pylist(given, arrow_schema(ORDERS.table))


def written_down(lake: Lakehouse, batch_id: int, valid: pa.Table, topic: str = ORDERS.topic.name) -> None:
    read = valid.select(["partition", "offset", "ingested_at"]).append_column("topic", pa.array([topic] * valid.num_rows))
    nothing = valid.slice(0, 0)
    fates = {"valid": valid, "quarantined": nothing, "duplicate": nothing, "late": nothing}
    lake.append(LEDGER, entries("main", batch_id, read, fates), Txn("test", batch_id * 10 + len(topic) % 10))


def late(watermarks: Watermarks, batch_id: int, *times: datetime) -> list[datetime]:
    return watermarks.late(orders(*times), ORDERS, batch_id)["event_time"].to_pylist()


def test_nothing_is_late_before_there_was_anything(tmp_path: Path) -> None:
    assert late(Watermarks(Lakehouse(tmp_path), "main"), 0, NOON - timedelta(days=400), NOON) == []


def test_a_row_further_behind_than_allowed_is_late_and_one_at_the_bound_is_not(tmp_path: Path) -> None:
    watermarks = Watermarks(Lakehouse(tmp_path), "main")
    watermarks.advance(orders(NOON, NOON - SECOND), ORDERS, 0)
    assert late(watermarks, 1, NOON - ALLOWED, NOON - ALLOWED - SECOND, NOON + SECOND) == [NOON - ALLOWED - SECOND]


def test_a_batch_is_judged_by_the_batches_before_it_also_when_it_is_replayed_after_a_restart(tmp_path: Path) -> None:
    lake = Lakehouse(tmp_path)
    written_down(lake, 0, orders(NOON))
    written_down(lake, 1, orders(NOON + timedelta(hours=3)))
    assert late(Watermarks(lake, "main"), 1, NOON, NOON - timedelta(hours=1)) == [NOON - timedelta(hours=1)]
    assert late(Watermarks(lake, "main"), 2, NOON, NOON + timedelta(hours=3)) == [NOON]
    assert late(Watermarks(lake, "another"), 2, NOON) == []


def test_the_time_of_one_source_makes_no_row_of_another_late(tmp_path: Path) -> None:
    lake = Lakehouse(tmp_path)
    written_down(lake, 0, orders(NOON))
    written_down(lake, 0, orders(NOON + timedelta(days=1)), VIEWS.topic.name)
    assert late(Watermarks(lake, "main"), 1, NOON - SECOND) == []


def test_restatements_name_each_minute_once_with_its_rows() -> None:
    rows = restatements("main", 4, ORDERS.table, orders(NOON, NOON + SECOND, NOON + timedelta(minutes=2))).to_pylist()
    assert [(row["window_start"], row["late_count"], row["source"], row["batch_id"]) for row in rows] == [
        (NOON, 2, "silver.orders", 4),
        (NOON + timedelta(minutes=2), 1, "silver.orders", 4),
    ]


def test_a_correction_of_the_ledger_reads_nothing_and_balances() -> None:
    valid, nothing = orders(NOON, NOON, NOON), orders()
    read = valid.select(["partition", "offset", "ingested_at"]).append_column("topic", pa.array(["shop.orders"] * 3))
    fates = {"valid": valid.slice(0, 2), "quarantined": nothing, "duplicate": valid.slice(2), "late": valid.slice(0, 2)}
    (row,) = readmitted(entries("readmission", 0, read, fates)).to_pylist()
    assert (row["read_count"], row["valid_count"], row["quarantined_count"], row["duplicate_count"]) == (0, 2, -3, 1)
    assert (row["first_offset"], row["last_offset"], row["late_count"]) == (0, 2, 2)


def held(valid: pa.Table, quarantined: pa.Table) -> dict[str, Callable[[int, int], int]]:
    """The rows of a partition up to an offset, counted in tables."""

    def count(rows: pa.Table, partition: int, last: int) -> int:
        return sum(row["partition"] == partition and row["offset"] <= last for row in rows.to_pylist())

    return {"valid": partial(count, valid), "quarantined": partial(count, quarantined)}


def test_a_recount_leaves_to_an_unfinished_batch_what_is_beyond_the_books() -> None:
    valid, nothing = orders(NOON, NOON, NOON, NOON), orders()
    read = valid.select(["partition", "offset", "ingested_at"]).append_column("topic", pa.array(["shop.orders"] * 4))
    booked = entries(
        "main", 0, read.slice(0, 3), {"valid": valid.slice(0, 1), "quarantined": valid.slice(1, 2), "duplicate": nothing, "late": nothing}
    )
    (row,) = recounted("shop.orders", booked, held(valid, nothing), 0, NOON).to_pylist()
    assert (row["read_count"], row["valid_count"], row["quarantined_count"], row["duplicate_count"]) == (0, 2, -2, 0)
    assert recounted("shop.orders", booked, held(valid.slice(0, 1), valid.slice(1, 3)), 0, NOON).num_rows == 0
