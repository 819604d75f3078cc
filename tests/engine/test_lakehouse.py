"""The one door to the tables: what it writes is written once, exactly, whoever of the two writers does it."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

from engine.small_tables import (
    EVENTS,
    MIDNIGHT,
    PLACES,
    PRICES,
    SALES,
    TIMED_PLACES,
    batch,
    events,
    files,
    held,
    left_to_delta_rs,
    places,
    time,
)
from promolake.core.table import Table
from promolake.engine import lakehouse
from promolake.engine.delta_log import DeltaLog
from promolake.engine.lakehouse import COMMITS_OF_A_HANDLE, Lakehouse, Txn, time_ranges
from promolake.engine.ledger import LEDGER
from promolake.hallway import HALLWAY


@pytest.fixture(params=["by hand", "by delta-rs"])
def lake(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lakehouse:
    if request.param == "by delta-rs":
        left_to_delta_rs(monkeypatch)
    return Lakehouse(tmp_path)


# --- once, and exactly ---------------------------------------------------------------------------------------------------------


def test_what_accumulates_is_added_to_the_cent_and_what_replaces_takes_its_place(lake: Lakehouse) -> None:
    first = {(0, "a"): ("0.1000", 1), (0, "b"): ("99999999999999999999999.9999", 2)}
    second = {(0, "a"): ("0.2000", 2), (1, "a"): ("-7.0001", 3)}
    for table in (SALES, PRICES):
        assert lake.upsert(table, batch(first), Txn("scan", 0))
        assert lake.upsert(table, batch(second), Txn("scan", 1))
    large = (Decimal("99999999999999999999999.9999"), 2)
    assert held(lake) == {(0, "a"): (Decimal("0.3000"), 3), (0, "b"): large, (1, "a"): (Decimal("-7.0001"), 3)}
    assert held(lake, PRICES) == {(0, "a"): (Decimal("0.2000"), 2), (0, "b"): large, (1, "a"): (Decimal("-7.0001"), 3)}


@pytest.mark.parametrize("table", [PLACES, TIMED_PLACES], ids=lambda table: table.short)
def test_a_row_without_a_window_is_replaced_by_its_grain(lake: Lakehouse, table: Table) -> None:
    lake.upsert(table, events(("e1", 0, "shelf"), ("e2", 5, "shelf")), Txn("join", 0))
    lake.upsert(table, events(("e2", 5, "cart"), ("e3", 9, "cart"), ("e0", 2, "shelf")), Txn("join", 1))
    assert places(lake, table) == {"e0": "shelf", "e1": "shelf", "e2": "cart", "e3": "cart"}


@pytest.mark.parametrize("table", [SALES, PRICES, EVENTS], ids=lambda table: table.written)
def test_a_transaction_is_written_once(lake: Lakehouse, table: Table) -> None:
    write, rows = (lake.append, events(("e1", 0, "shelf"))) if table is EVENTS else (lake.upsert, batch({(0, "a"): (5, 1)}))
    assert write(table, rows, Txn("scan", 3)) is True
    version = lake.version(table)
    assert write(table, rows, Txn("scan", 3)) is False
    assert write(table, rows, Txn("scan", 2)) is False
    assert lake.version(table) == version
    assert lake.transaction(table, "scan") == 3
    assert write(table, rows, Txn("scan", 4)) is True
    assert write(table, rows, Txn("another scan", 0)) is True
    if table is SALES:
        assert held(lake) == {(0, "a"): (Decimal(15), 3)}
    if table is PRICES:
        assert held(lake, PRICES) == {(0, "a"): (Decimal(5), 1)}
    if table is EVENTS:
        assert lake.read(EVENTS, ["event_id"]).num_rows == 3


def test_a_transaction_is_still_known_to_another_process(lake: Lakehouse, tmp_path: Path) -> None:
    lake.upsert(SALES, batch({(0, "a"): (5, 1)}), Txn("scan", 0))
    assert Lakehouse(tmp_path).upsert(SALES, batch({(0, "a"): (5, 1)}), Txn("scan", 0)) is False


def test_nothing_to_write_is_no_commit(lake: Lakehouse) -> None:
    lake.create([SALES, EVENTS])
    assert lake.upsert(SALES, batch({}), Txn("scan", 0)) is False
    assert lake.append(EVENTS, events(), Txn("scan", 0)) is False
    assert [lake.version(SALES), lake.version(EVENTS)] == [0, 0]
    assert lake.transaction(SALES, "scan") == -1


def test_a_value_that_does_not_fit_its_column_is_refused_and_nothing_is_written(lake: Lakehouse) -> None:
    too_large = pa.table({**{name: batch({(0, "a"): (1, 1)})[name] for name in SALES.column_names}, "units": pa.array([1.5])})
    with pytest.raises(pa.ArrowInvalid):
        lake.upsert(SALES, too_large, Txn("scan", 0))
    assert held(lake) == {}


@pytest.mark.spark
def test_a_large_append_by_spark_is_the_same_append(spark: SparkSession, tmp_path: Path) -> None:
    large, small = Lakehouse(tmp_path, lambda: spark, spark_above=1), Lakehouse(tmp_path)
    assert large.append(EVENTS, events(("e1", 0, "shelf"), ("e2", 1, "cart")), Txn("scan", 0)) is True
    assert small.append(EVENTS, events(("e1", 0, "shelf")), Txn("scan", 0)) is False
    assert small.append(EVENTS, events(("e3", 2, "cart")), Txn("scan", 1)) is True
    assert large.append(EVENTS, events(("e3", 2, "cart"), ("e4", 3, "cart")), Txn("scan", 1)) is False
    assert sorted(small.read(EVENTS, ["event_id"])["event_id"].to_pylist()) == ["e1", "e2", "e3"]  # no dict: none stands twice
    assert sorted(row.event_id for row in large.frame(EVENTS).collect()) == ["e1", "e2", "e3"]


# --- files, types, contracts -----------------------------------------------------------------------------------------------------


def test_a_merge_rewrites_only_the_files_of_the_minutes_it_touches(lake: Lakehouse) -> None:
    written = []
    for minute in range(4):
        before = files(lake, SALES) if minute else set()
        lake.upsert(SALES, batch({(minute, "a"): (1, 1), (minute, "b"): (1, 1)}), Txn("scan", minute))
        written.append(files(lake, SALES) - before)
    lake.upsert(SALES, batch({(1, "a"): (1, 1)}), Txn("scan", 4))
    after = files(lake, SALES)
    assert all(len(names) == 1 for names in written)
    assert written[0] | written[2] | written[3] < after
    assert not written[1] & after


@pytest.mark.parametrize("table", [*HALLWAY.tables, LEDGER], ids=lambda table: table.name)
def test_every_table_of_the_house_keeps_its_contract_in_delta(tmp_path: Path, table: Table) -> None:
    lake = Lakehouse(tmp_path)
    lake.create([table])
    lake.create([table])  # once more is nothing
    delta = DeltaTable(lake.path(table))
    fields = delta.schema().fields
    assert {field.name: field.metadata["comment"] for field in fields} == {column.name: column.description for column in table.columns}
    assert [field.name for field in fields] == list(table.column_names)
    assert (delta.metadata().name, delta.metadata().description) == (table.name, table.description)
    protocol = delta.protocol()
    assert protocol.min_reader_version == 1
    assert "deletionVectors" not in [*(protocol.reader_features or []), *(protocol.writer_features or [])]
    assert delta.version() == 0


@pytest.mark.spark
def test_no_writer_loses_a_description(spark: SparkSession, tmp_path: Path) -> None:
    lake = Lakehouse(tmp_path, lambda: spark)
    lake.upsert(SALES, batch({(0, "a"): (1, 1)}), Txn("scan", 0))
    lake.upsert(SALES, batch({(0, "a"): (1, 1)}), Txn("scan", 1))
    lake._spark_above = 0
    lake.upsert(SALES, batch({(0, "a"): (1, 1)}), Txn("scan", 2))
    lake.overwrite(SALES, batch({(0, "a"): (9, 9)}))
    lake.overwrite(SALES, lake.frame(SALES))
    fields = DeltaTable(lake.path(SALES)).schema().fields
    assert {field.name: field.metadata.get("comment") for field in fields} == {column.name: column.description for column in SALES.columns}


def test_what_is_read_has_the_contracts_types_also_after_a_merge(lake: Lakehouse) -> None:
    lake.upsert(SALES, batch({(0, "a"): (1, 1)}), Txn("scan", 0))
    lake.upsert(SALES, batch({(0, "a"): (1, 1)}), Txn("scan", 1))  # delta-rs leaves string views in merged files
    rows = lake.read(SALES, ["product_id", "amount", "window_start"], "product_id = 'a'")
    assert rows.schema.types == [pa.string(), pa.decimal128(28, 4), pa.timestamp("us", "UTC")]
    assert rows.to_pylist() == [{"product_id": "a", "amount": Decimal(2), "window_start": MIDNIGHT}]


def test_time_ranges_are_half_open_and_none_is_nothing(lake: Lakehouse) -> None:
    lake.append(EVENTS, events(*((f"e{n}", n, "shelf") for n in range(6))), Txn("scan", 0))
    for zone in (UTC, timezone(timedelta(hours=8))):
        ranges = [(time(0).astimezone(zone), time(1).astimezone(zone)), (time(3).astimezone(zone), time(5).astimezone(zone))]
        assert places(lake, where=time_ranges("event_time", ranges)).keys() == {"e0", "e3", "e4"}
    assert places(lake, where=time_ranges("event_time", [])) == {}


def test_overwriting_a_range_leaves_the_rest_and_records_its_transactions(lake: Lakehouse) -> None:
    lake.append(EVENTS, events(("e1", 0, "shelf"), ("e2", 5, "shelf"), ("e3", 9, "shelf")), Txn("scan", 0))
    middle = time_ranges("event_time", [(time(5), time(9))])
    lake.overwrite(EVENTS, events(("e4", 5, "cart")), [Txn("scan", 7), Txn("night scan", 2)], middle)
    assert places(lake) == {"e1": "shelf", "e4": "cart", "e3": "shelf"}
    assert (lake.transaction(EVENTS, "scan"), lake.transaction(EVENTS, "night scan")) == (7, 2)
    assert lake.append(EVENTS, events(("e5", 1, "shelf")), Txn("scan", 7)) is False
    lake.overwrite(EVENTS, events(), where=time_ranges("event_time", [(time(0), time(1))]))
    assert places(lake) == {"e4": "cart", "e3": "shelf"}


def test_after_an_overwrite_newer_windows_are_known_by_what_stands_now(lake: Lakehouse) -> None:
    lake.upsert(SALES, batch({(5, "a"): (1, 1)}), Txn("scan", 0))
    lake.overwrite(SALES, batch({(0, "a"): (1, 1)}))
    lake.upsert(SALES, batch({(0, "a"): (1, 1), (5, "a"): (2, 2)}), Txn("scan", 1))
    assert held(lake) == {(0, "a"): (Decimal(2), 2), (5, "a"): (Decimal(2), 2)}


def test_a_handle_used_for_long_is_opened_anew_and_nothing_is_lost(lake: Lakehouse) -> None:
    for number in range(2 * COMMITS_OF_A_HANDLE + 3):
        assert lake.append(EVENTS, events((f"e{number}", number, "shelf")), Txn("scan", number)) is True
        assert lake.append(EVENTS, events((f"e{number}", number, "shelf")), Txn("scan", number)) is False
    found = lake.read(EVENTS, ["event_id"])["event_id"].to_pylist()
    assert lake._age(EVENTS) == 3
    assert len(DeltaLog(Path(lake.path(EVENTS))).checkpoints) == 2
    assert len(found) == len(set(found)) == 2 * COMMITS_OF_A_HANDLE + 3


def test_a_write_that_failed_is_not_taken_for_the_tables_last_word(lake: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been committed before it failed: the table is looked at again, and knows."""
    put, write = lakehouse.put, lakehouse.write_deltalake

    def put_and_failed(*commit: Any) -> None:
        put(*commit)
        raise OSError("no space left on device")

    def committed_and_failed(delta: DeltaTable, *given: Any, **options: Any) -> None:
        write(lake.path(EVENTS), *given, **options)  # the handle has not seen it
        raise OSError("no space left on device")

    lake.append(EVENTS, events(("e0", 0, "shelf")), Txn("scan", 0))
    with monkeypatch.context() as disk:
        disk.setattr(lakehouse, "write_deltalake", committed_and_failed)
        disk.setattr(lakehouse, "put", put_and_failed)
        with pytest.raises(OSError, match="no space left"):
            lake.append(EVENTS, events(("e1", 1, "shelf")), Txn("scan", 1))
    assert lake.append(EVENTS, events(("e1", 1, "shelf")), Txn("scan", 1)) is False
    assert sorted(lake.read(EVENTS, ["event_id"])["event_id"].to_pylist()) == ["e0", "e1"]
