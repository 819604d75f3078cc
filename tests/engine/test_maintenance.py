"""Maintenance makes tables smaller and quicker, and changes nothing they say; nothing that goes wrong in it reaches a stream."""

from __future__ import annotations

import os
import re
import threading
import time as clock
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from promolake.alerts.tables import ALERTS, STATES
from promolake.bronze.envelope import bronze_table
from promolake.core.table import Column, Table, Written
from promolake.engine import housekeeping
from promolake.engine.arrow import arrow_schema
from promolake.engine.lakehouse import Lakehouse, Txn
from promolake.engine.lateness import BOOKS
from promolake.engine.maintenance import Maintenance
from promolake.hallway import HALLWAY
from promolake.settings import Maintenance as Rules
from promolake.sources import TOPICS

MIDNIGHT = datetime(2026, 11, 11, tzinfo=UTC)
COLUMNS = (
    Column("window_start", "timestamp", "The minute."),
    Column("product_id", "string", "The product."),
    Column("units", "bigint", "How many."),
)
SALES = Table("gold.sales", "Adds up.", COLUMNS, Written.ACCUMULATE, ("window_start", "product_id"), ("window_start",))
EVENTS = Table("silver.events", "Is appended to.", COLUMNS, stats=("window_start",))
BRONZE = bronze_table(TOPICS[0])
RULES = Rules(small_files=10)
PRODUCTS = 5


def minute_of(*minutes: int, units: int = 1) -> pa.Table:
    rows = [
        {"window_start": MIDNIGHT + timedelta(minutes=minute), "product_id": f"p{n}", "units": units}
        for minute in minutes
        for n in range(PRODUCTS)
    ]
    return pa.Table.from_pylist(rows, schema=arrow_schema(SALES))


def conformed_to(table: Table, row: dict[str, object]) -> pa.Table:
    return pa.Table.from_pylist([row], schema=arrow_schema(table))


@pytest.fixture
def lake(tmp_path: Path) -> Lakehouse:
    """Ninety minutes of both tables, a commit each."""
    made = Lakehouse(tmp_path)
    for minute in range(90):
        made.upsert(SALES, minute_of(minute), Txn("scan", minute))
        made.append(EVENTS, minute_of(minute), Txn("scan", minute))
    return made


def opened(lake: Lakehouse, table: Table) -> DeltaTable:
    return DeltaTable(lake.path(table))


def files(lake: Lakehouse, table: Table) -> set[str]:
    return set(opened(lake, table).file_uris())


def on_disk(lake: Lakehouse, table: Table) -> set[str]:
    return {str(file) for file in Path(lake.path(table)).glob("*.parquet")}


def held(lake: Lakehouse, table: Table) -> list[tuple]:
    rows = lake.read(table, table.column_names).to_pylist()
    return sorted(tuple(row.values()) for row in rows)


def tended(lake: Lakehouse, *tables: Table, rules: Rules = RULES) -> list[str]:
    said: list[str] = []
    Maintenance(lake, tables, rules, said.append).round()
    return said


def aged(lake: Lakehouse, table: Table, days: int) -> None:
    """Makes everything in the table's folder, and what its log says of removed files, that much older."""
    folder = Path(lake.path(table))
    for commit in (folder / "_delta_log").glob("*.json"):
        text = commit.read_text()
        commit.write_text(re.sub(r'("deletionTimestamp":)(\d+)', lambda at: f"{at[1]}{int(at[2]) - days * 86_400_000}", text))
    for file in folder.rglob("*"):
        then = file.stat().st_mtime - days * 86_400
        os.utime(file, (then, then))


# --- files -----------------------------------------------------------------------------------------------------------------------


def test_small_files_of_an_append_only_table_become_one_and_its_rows_stay_as_they_are(lake: Lakehouse) -> None:
    rows = lake.read(EVENTS, EVENTS.column_names).to_pylist()
    assert tended(lake, EVENTS) == ["maintenance of silver.events: 89 files less, 11 commits summed up"]
    assert len(files(lake, EVENTS)) == 1
    assert held(lake, EVENTS) == sorted(tuple(row.values()) for row in rows)
    assert tended(lake, EVENTS) == []


def test_small_files_of_a_table_without_a_time_become_one_and_a_merge_still_finds_its_rows(tmp_path: Path) -> None:
    lake = Lakehouse(tmp_path)
    standing = {}
    for n in range(30):
        row = {"alert": f"rule{n % 7}", "labels": "", "status": "looked", "since": MIDNIGHT + timedelta(minutes=n)}
        lake.upsert(STATES, conformed_to(STATES, row), Txn("scan", n))
        lake.upsert(STATES, conformed_to(STATES, {"alert": f"once{n}", "labels": "", "status": "pending"}), Txn("other", n))
        standing |= {row["alert"]: row["since"], f"once{n}": None}
    assert len(files(lake, STATES)) > RULES.small_files
    assert "failed" not in " ".join(tended(lake, STATES))
    assert len(files(lake, STATES)) == 1
    lake.upsert(STATES, conformed_to(STATES, {"alert": "rule0", "labels": "", "status": "looked", "since": MIDNIGHT}), Txn("scan", 30))
    found = lake.read(STATES, ["alert", "since"]).to_pylist()
    assert {row["alert"]: row["since"] for row in found} == standing | {"rule0": MIDNIGHT}
    assert len(found) == len(standing)


def test_every_table_a_run_writes_can_be_tended(tmp_path: Path) -> None:
    lake, tables = Lakehouse(tmp_path), [*HALLWAY.tables, *BOOKS, ALERTS, STATES]
    lake.create(tables)
    assert [line for line in tended(lake, *tables, rules=Rules(small_files=2)) if "failed" in line] == []


def test_few_small_files_are_left_alone(lake: Lakehouse) -> None:
    before = files(lake, EVENTS), files(lake, SALES)
    tended(lake, EVENTS, SALES, rules=Rules(small_files=1000))
    assert (files(lake, EVENTS), files(lake, SALES)) == before


def test_of_an_upserted_table_the_newest_files_are_left_alone_and_a_merge_stays_small(lake: Lakehouse) -> None:
    before, rows = files(lake, SALES), held(lake, SALES)
    tended(lake, SALES)
    after = files(lake, SALES)
    assert len(after) <= 32, "not put together"
    assert len(after & before) >= 29, "the newest minutes were touched"
    assert held(lake, SALES) == rows
    lake.upsert(SALES, minute_of(89), Txn("scan", 90))
    merge = opened(lake, SALES).history(1)[0]["operationMetrics"]
    assert (merge["num_removed_files"], merge["num_added_files"]) == (1, 1)
    lake.upsert(SALES, minute_of(3), Txn("scan", 91))
    assert held(lake, SALES) == sorted(
        (start, product, units + 1 if start in (MIDNIGHT + timedelta(minutes=3), MIDNIGHT + timedelta(minutes=89)) else units)
        for start, product, units in rows
    )


def test_a_files_rows_are_bounded_and_files_hold_neighbouring_windows(lake: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "FILE_ROWS", 10 * PRODUCTS)
    rows = held(lake, SALES)
    tended(lake, SALES)
    found = pa.table(opened(lake, SALES).get_add_actions(flatten=True))
    together = [row for row in found.to_pylist() if row["num_records"] > PRODUCTS]
    assert sorted(row["num_records"] for row in together) == [9 * PRODUCTS, *[10 * PRODUCTS] * 5]  # of the 59 minutes settled
    ranges = sorted((row["min.window_start"], row["max.window_start"]) for row in together)
    assert all(high < low for (_, high), (low, _) in pairwise(ranges))
    assert held(lake, SALES) == rows


@pytest.mark.parametrize("keep_days", [7, 2])
def test_files_nobody_needs_go_after_the_days_they_are_kept_and_not_before(lake: Lakehouse, keep_days: int) -> None:
    rules = Rules(small_files=10, keep_days=keep_days)
    orphan = Path(lake.path(EVENTS)) / "part-00000-left-by-a-full-disk.snappy.parquet"
    orphan.touch()
    rows = held(lake, EVENTS)
    tended(lake, EVENTS, rules=rules)
    assert len(on_disk(lake, EVENTS)) == 92
    aged(lake, EVENTS, keep_days - 1)
    tended(lake, EVENTS, rules=rules)
    assert len(on_disk(lake, EVENTS)) == 92
    aged(lake, EVENTS, 2)
    # Of the 90 files put together only the log's checkpoint still speaks, with the time they were removed at.
    said = tended(lake, EVENTS, rules=rules)
    assert len(on_disk(lake, EVENTS)) < 92, said
    assert not orphan.exists()
    assert held(lake, EVENTS) == rows


def test_a_file_removed_yesterday_stays_on_disk_however_long_ago_it_was_written(lake: Lakehouse) -> None:
    """Else who has built old days anew could not go back to what stood before. Its time says nothing: the log's checkpoint knows."""
    for file in on_disk(lake, EVENTS):
        os.utime(file, (0, 0))
    lake.look_after(EVENTS, lambda delta: housekeeping.compacted(delta, EVENTS, 10))
    lake.append(EVENTS, minute_of(90), Txn("scan", 90))
    aged(lake, EVENTS, 1)
    before = on_disk(lake, EVENTS)
    lake.look_after(EVENTS, lambda delta: housekeeping.summed_up(delta, 7))
    lake.look_after(EVENTS, lambda delta: housekeeping.vacuumed(delta, 7))
    assert len(before) == 92
    assert on_disk(lake, EVENTS) == before


@pytest.mark.parametrize(("long", "summed"), [(8_000, True), (30, False)])
def test_a_long_logs_checkpoint_waits_until_it_has_grown_by_half_of_what_lies_between_two(
    lake: Lakehouse, monkeypatch: pytest.MonkeyPatch, long: int, summed: bool
) -> None:
    monkeypatch.setattr(housekeeping, "LONG", long)
    lake.look_after(EVENTS, lambda delta: delta.create_checkpoint() or 0)
    for number in range(90, 119):
        lake.append(EVENTS, minute_of(number), Txn("scan", number))
    grown = lake.look_after(EVENTS, lambda delta: delta.version() - housekeeping._checkpoint(delta))
    assert bool(lake.look_after(EVENTS, lambda delta: housekeeping.summed_up(delta, 7))) is summed, grown


@pytest.mark.parametrize("table", [SALES, EVENTS], ids=lambda table: table.name)
def test_what_was_written_is_still_known_after_all_maintenance(lake: Lakehouse, table: Table, tmp_path: Path) -> None:
    """The transactions outlive compaction, a checkpoint, the clearing of the log and a vacuum."""
    if table is SALES:
        lake.upsert(SALES, minute_of(89, 90), Txn("scan", 90))
    apps = {"scan": 90 if table is SALES else 89}
    lake.look_after(table, lambda delta: housekeeping.compacted(delta, table, 10))
    aged(lake, table, 40)
    lake.look_after(table, lambda delta: housekeeping.summed_up(delta, 7))
    lake.look_after(table, lambda delta: housekeeping.vacuumed(delta, 7))
    log = sorted(file.name for file in (Path(lake.path(table)) / "_delta_log").glob("*.json"))
    assert len(log) < 5, "the log was not cleared"
    rows = held(lake, table)
    for again in (lake, Lakehouse(tmp_path)):
        assert {app: again.transaction(table, app) for app in apps} == apps
        write = again.upsert if table is SALES else again.append
        assert write(table, minute_of(1), Txn("scan", 7)) is False
        assert held(again, table) == rows


@pytest.mark.spark
def test_a_stream_from_an_append_only_table_takes_each_row_once_whatever_maintenance_does(
    lake: Lakehouse, spark: SparkSession, tmp_path: Path
) -> None:
    taken: list[tuple] = []

    def stream() -> None:
        frame = spark.readStream.format("delta").option("skipChangeCommits", "true").load(lake.path(EVENTS))  # as engine/joining.py does
        query = frame.writeStream.foreachBatch(lambda rows, _: taken.extend(map(tuple, rows.select("units", "product_id").collect())))
        query.option("checkpointLocation", str(tmp_path / "checkpoint")).trigger(availableNow=True).start().awaitTermination(60)

    stream()
    assert len(taken) == 90 * PRODUCTS
    assert tended(lake, EVENTS)
    lake.append(EVENTS, minute_of(90, units=2), Txn("scan", 90))
    lake.append(EVENTS, minute_of(91, units=3), Txn("scan", 91))
    aged(lake, EVENTS, 6)  # a stream that stood still for no longer than the log is kept
    for batch in range(12):
        lake.append(EVENTS, minute_of(92, units=4), Txn("scan", 92 + batch))
    assert tended(lake, EVENTS)
    stream()
    counted = {units: sum(1 for one, _ in taken if one == units) for units in (1, 2, 3, 4)}
    assert counted == {1: 90 * PRODUCTS, 2: PRODUCTS, 3: PRODUCTS, 4: 12 * PRODUCTS}


# --- bronze ----------------------------------------------------------------------------------------------------------------------


def records(*ages_days: float) -> pa.Table:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    taken = [today - timedelta(days=age) for age in ages_days]
    rows = [{"topic": TOPICS[0].name, "partition": 0, "offset": n, "ingested_at": time} for n, time in enumerate(taken)]
    return pa.Table.from_pylist(rows, schema=arrow_schema(BRONZE))


@pytest.mark.parametrize(("days", "left"), [(0, [0, 1, 2, 3]), (1, [1, 2, 3]), (2, [1, 2, 3]), (3, [0, 1, 2, 3])])
def test_bronze_is_forgotten_by_whole_days_and_by_default_never(tmp_path: Path, days: int, left: list[int]) -> None:
    lake = Lakehouse(tmp_path)
    lake.append(BRONZE, records(2.5, 1, 0.9, -0.5), Txn("scan", 0))
    said = tended(lake, BRONZE, rules=Rules(bronze_days=days))
    assert sorted(lake.read(BRONZE, ["offset"])["offset"].to_pylist()) == left
    assert lake.transaction(BRONZE, "scan") == 0
    assert len(said) == (len(left) < 4)
    assert tended(lake, BRONZE, rules=Rules(bronze_days=days)) == []


def test_only_bronze_is_forgotten(lake: Lakehouse) -> None:
    rows = held(lake, EVENTS)
    tended(lake, EVENTS, SALES, rules=Rules(bronze_days=1))
    assert held(lake, EVENTS) == rows


# --- beside a stream -------------------------------------------------------------------------------------------------------------


def test_an_upsert_never_meets_a_file_that_is_being_replaced(lake: Lakehouse) -> None:
    """The control of the lock: the tables are tended without a pause while batches come."""
    said: list[str] = []
    rounds, done = 0, threading.Event()

    def tend() -> None:
        nonlocal rounds
        while not done.is_set():
            Maintenance(lake, [SALES, EVENTS], Rules(small_files=2), said.append).round()
            rounds += 1

    thread = threading.Thread(target=tend)
    thread.start()
    for batch in range(90, 150):
        lake.upsert(SALES, minute_of(batch % 100, batch), Txn("scan", batch))
        lake.append(EVENTS, minute_of(batch), Txn("scan", batch))
    done.set()
    thread.join()
    assert rounds > 2
    assert [line for line in said if "failed" in line] == []
    assert len(held(lake, EVENTS)) == 150 * PRODUCTS
    assert sum(units for _, _, units in held(lake, SALES)) == (90 + 60 * 2) * PRODUCTS


def test_what_goes_wrong_is_said_and_the_other_tables_are_tended(lake: Lakehouse) -> None:
    last = sorted((Path(lake.path(SALES)) / "_delta_log").glob("*.json"))[-1]
    last.write_text("{oops")
    said = tended(Lakehouse(lake.root), SALES, EVENTS)
    assert said[0].startswith("maintenance of gold.sales failed and will be tried again: ")
    assert said[1].startswith("maintenance of silver.events: 89 files less")


def test_it_runs_by_itself_at_its_pace_and_ends_when_told(lake: Lakehouse, until) -> None:
    said: list[str] = []
    began = clock.monotonic()
    with Maintenance(lake, [EVENTS], Rules(every="1 second", small_files=10), said.append):
        until(lambda: said)
        assert clock.monotonic() - began >= 1
    began = clock.monotonic()
    with Maintenance(lake, [EVENTS], Rules(every="1 day"), said.append):
        pass
    assert clock.monotonic() - began < 5
    assert not [thread for thread in threading.enumerate() if thread.name == "maintenance"]
    Maintenance(lake, [EVENTS], RULES, said.append).close()  # that was never started
