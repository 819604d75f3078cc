"""What the house commits to a Delta log by its own hand: the same table to every reader, and nothing half done."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from engine.small_tables import MIDNIGHT, SALES, batch, held, time
from promolake.alerts.tables import ALERTS
from promolake.core.table import Column, Table, Written
from promolake.engine import lakehouse, recent
from promolake.engine.arrow import arrow_schema
from promolake.engine.commits import put
from promolake.engine.delta_log import FOLDER, DeltaLog
from promolake.engine.housekeeping import CHECKPOINT_EVERY, checkpoint_span, compacted, vacuumed
from promolake.engine.lakehouse import WINDOW, Lakehouse, Txn
from promolake.engine.lateness import BOOKS
from promolake.engine.recent import upserted
from promolake.hallway import HALLWAY

EVERYTHING = Table(
    "bronze.everything",
    "A column of every type.",
    (
        Column("at", "timestamp", "An instant."),
        Column("offset", "bigint", "A position."),
        Column("partition", "int", "Another."),
        Column("text", "string", "Words."),
        Column("value", "binary", "Bytes."),
        Column("is_good", "boolean", "Yes or no."),
        Column("share", "double", "A number."),
        Column("amount", "decimal(28,4)", "Money."),
        Column("rules", "array<string>", "Several."),
        Column("headers", "array<struct<key:string,value:binary>>", "Pairs."),
    ),
    stats=("at", "offset", "partition"),
)
FULL = {
    "at": MIDNIGHT + timedelta(microseconds=1),
    "offset": 2**62,
    "partition": 3,
    "text": "猫 'quoted' \x00 \n",
    "value": b"\xff\x00",
    "is_good": True,
    "share": 0.1,
    "amount": Decimal("99999999999999999999999.9999"),
    "rules": ["one", None],
    "headers": [{"key": "k", "value": b"\x00"}, {"key": None, "value": None}],
}
EMPTY = dict.fromkeys(FULL) | {"rules": [], "headers": []}
EARLY = FULL | {"at": datetime(1, 1, 1, tzinfo=UTC), "offset": -1, "partition": -(2**31)}
LATE = FULL | {"at": datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)}
NOTHING = dict.fromkeys(FULL)


def table_of(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=arrow_schema(EVERYTHING).remove_metadata())


@pytest.fixture
def lake(tmp_path: Path) -> Lakehouse:
    return Lakehouse(tmp_path)


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is written by another hand fails."""

    def other(*_: object, **__: object) -> None:
        raise AssertionError("delta-rs was asked to write")

    monkeypatch.setattr(lakehouse, "write_deltalake", other)
    monkeypatch.setattr(Lakehouse, "_merge", other)


@pytest.mark.spark
@pytest.mark.usefixtures("by_hand")
def test_every_reader_reads_every_type_as_it_was_written(lake: Lakehouse, spark: SparkSession) -> None:
    rows = [FULL, EMPTY, NOTHING, LATE]  # Spark's Python has no year 1
    for number, row in enumerate(rows):
        assert lake.append(EVERYTHING, table_of(row), Txn("scan", number)) is True
    path = lake.path(EVERYTHING)
    want = table_of(*rows)
    ours = lake.read(EVERYTHING, EVERYTHING.column_names)
    assert sorted(map(str, ours.to_pylist())) == sorted(map(str, want.to_pylist()))
    by_duckdb = duckdb.from_arrow(DeltaTable(path).to_pyarrow_dataset()).to_arrow_table().cast(want.schema)
    assert sorted(map(str, by_duckdb.to_pylist())) == sorted(map(str, want.to_pylist()))
    by_spark = spark.read.format("delta").load(path).toArrow().cast(want.schema)
    assert sorted(map(str, by_spark.to_pylist())) == sorted(map(str, want.to_pylist()))


@pytest.mark.spark
@pytest.mark.usefixtures("by_hand")
@pytest.mark.parametrize(
    ("row", "where"),
    [(FULL, "at = '2026-11-11T00:00:00.000001+00:00'"), (EARLY, "at < '1700-01-01T00:00:00Z'"), (LATE, "at > '2200-01-01T00:00:00Z'")],
    ids=["with microseconds", "the first instant", "the last instant"],  # DataFusion knows no literals of the last two
)
def test_a_filter_that_skips_files_by_their_statistics_finds_the_row(
    lake: Lakehouse, spark: SparkSession, row: dict[str, Any], where: str
) -> None:
    lake.append(EVERYTHING, table_of(row), Txn("scan", 0))
    assert lake.figures(EVERYTHING, "count(*) AS n", where)["n"] == 1
    assert spark.read.format("delta").load(lake.path(EVERYTHING)).where(f"at = TIMESTAMP '{row['at'].isoformat()}'").count() == 1
    for name in ("offset", "partition"):
        assert lake.figures(EVERYTHING, "count(*) AS n", f'"{name}" = {row[name]}')["n"] == 1
        assert lake.figures(EVERYTHING, "count(*) AS n", f'"{name}" > {row[name]}')["n"] == 0


def test_statistics_enclose_what_the_file_holds_and_name_no_other_column(lake: Lakehouse) -> None:
    lake.append(EVERYTHING, table_of(FULL, FULL | {"at": MIDNIGHT + timedelta(microseconds=1001)}, NOTHING), Txn("scan", 0))
    (add,) = (action["add"] for action in DeltaLog(Path(lake.path(EVERYTHING))).commit(1).actions if "add" in action)
    assert json.loads(add["stats"]) == {
        "numRecords": 3,
        "minValues": {"at": "2026-11-11T00:00:00.000Z", "offset": 2**62, "partition": 3},
        "maxValues": {"at": "2026-11-11T00:00:00.002Z", "offset": 2**62, "partition": 3},
        "nullCount": {"at": 1, "offset": 1, "partition": 1},
    }


@pytest.mark.usefixtures("by_hand")
@pytest.mark.parametrize("table", [*HALLWAY.tables, *BOOKS, ALERTS], ids=lambda table: table.name)
def test_every_table_of_the_house_but_the_alerts_states_is_written_by_hand(lake: Lakehouse, table: Table) -> None:
    now = {"timestamp": MIDNIGHT, "bigint": 1, "int": 1, "string": "x"}
    row = {column.name: now.get(column.type) for column in table.columns}
    rows = pa.Table.from_pylist([row], schema=arrow_schema(table))
    write = lake.append if table.written is Written.APPEND else lake.upsert
    assert [write(table, rows, Txn("scan", number)) for number in (0, 1)] == [True, True]
    assert WINDOW not in table.grain or table.stats[0] == WINDOW
    assert lake.read(table, table.column_names).num_rows == (1 if write == lake.upsert else 2)


# --- what is not as the house creates it is left to delta-rs ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "properties", [{"delta.enableChangeDataFeed": "true"}, {"delta.appendOnly": "false"}], ids=["another protocol", "another property"]
)
def test_a_table_with_a_property_more_is_left_to_delta_rs(
    lake: Lakehouse, monkeypatch: pytest.MonkeyPatch, properties: dict[str, str]
) -> None:
    lake.append(EVERYTHING, table_of(FULL), Txn("scan", 0))
    DeltaTable(lake.path(EVERYTHING)).alter.set_table_properties(properties)

    def never(*_: object) -> None:
        raise AssertionError("it was written by hand")

    monkeypatch.setattr(lakehouse, "put", never)
    assert lake.append(EVERYTHING, table_of(FULL), Txn("scan", 0)) is False
    assert lake.append(EVERYTHING, table_of(EMPTY), Txn("scan", 1)) is True
    assert lake.figures(EVERYTHING, "count(*) AS n")["n"] == 2


def test_columns_the_contract_does_not_name_are_refused_as_ever(lake: Lakehouse) -> None:
    fewer = Table(EVERYTHING.name, "Before a column was added.", EVERYTHING.columns[:-1], stats=EVERYTHING.stats)
    lake.create([fewer])
    with pytest.raises(Exception, match=r"(?i)schema|headers"):
        lake.append(EVERYTHING, table_of(FULL), Txn("scan", 0))
    assert lake.version(fewer) == 0


# --- all or nothing --------------------------------------------------------------------------------------------------------------------


def test_a_version_that_is_taken_is_not_written_over_and_the_repetition_stands_behind_it(lake: Lakehouse, tmp_path: Path) -> None:
    lake.append(EVERYTHING, table_of(FULL), Txn("scan", 0))
    folder = Path(lake.path(EVERYTHING))
    taken = (folder / FOLDER / f"{1:020}.json").read_bytes()
    with pytest.raises(FileExistsError):
        put(folder, 1, "scan", 9, [])
    assert (folder / FOLDER / f"{1:020}.json").read_bytes() == taken
    Lakehouse(tmp_path).append(EVERYTHING, table_of(EMPTY), Txn("another", 5))
    assert lake.append(EVERYTHING, table_of(EMPTY), Txn("another", 5)) is False
    assert lake.append(EVERYTHING, table_of(NOTHING), Txn("scan", 1)) is True
    assert lake.version(EVERYTHING) == 3


@pytest.mark.parametrize("write", ["write_bytes", "write_text", "rename"])
def test_a_full_disk_leaves_neither_a_commit_nor_a_piece_of_a_file(lake: Lakehouse, monkeypatch: pytest.MonkeyPatch, write: str) -> None:
    lake.create([EVERYTHING])
    folder = Path(lake.path(EVERYTHING))

    def full(path: Path, what: Any) -> None:
        if write != "rename":
            path.touch()
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as disk:
        disk.setattr(Path, write, full)
        with pytest.raises(OSError, match="No space left"):
            lake.append(EVERYTHING, table_of(FULL), Txn("scan", 0))
    assert not [*folder.glob("*#1")]
    assert [file.name for file in (folder / FOLDER).iterdir()] == [f"{0:020}.json"]
    assert lake.version(EVERYTHING) == 0
    assert lake.append(EVERYTHING, table_of(FULL), Txn("scan", 0)) is True


@pytest.mark.parametrize("lines", [1, 2])
def test_the_doctor_sees_that_a_commit_was_cut_off_at_the_end_of_a_line(lake: Lakehouse, lines: int) -> None:
    lake.append(EVERYTHING, table_of(FULL), Txn("scan", 0))
    log = DeltaLog(Path(lake.path(EVERYTHING)))
    assert log.commit(1).fault == ""
    whole = log.commits[1].read_text().splitlines()
    log.commits[1].write_text("\n".join(whole[:lines]))
    assert bool(log.commit(1).fault) == (lines < 2)  # without its last line, the transaction, it still names its file


# --- files in memory -------------------------------------------------------------------------------------------------------------------


def test_as_in_sql_null_equals_nothing_and_adds_to_nothing(lake: Lakehouse) -> None:
    for number in range(2):
        lake.upsert(SALES, batch({(0, None): (1, 1), (0, "a"): (None, 1), (0, "b"): (number, 1)}), Txn("scan", number))
    found = lake.read(SALES, ("product_id", "amount", "units")).to_pylist()
    assert sorted((row["product_id"] or "", str(row["amount"]), row["units"]) for row in found) == [
        ("", "1.0000", 1),
        ("", "1.0000", 1),
        ("a", "None", 2),
        ("b", "1.0000", 2),
    ]


def test_a_file_nobody_knows_the_times_of_is_merged_with_like_any(lake: Lakehouse, tmp_path: Path) -> None:
    lake.upsert(SALES, batch({(5, "a"): (1, 1)}), Txn("scan", 0))
    commit = DeltaLog(Path(lake.path(SALES))).commits[1]
    lines = [json.loads(line) for line in commit.read_text().splitlines()]
    for line in lines:
        line.get("add", {}).pop("stats", None)
    commit.write_text("\n".join(map(json.dumps, lines)))
    for number in (1, 2):
        assert Lakehouse(tmp_path).upsert(SALES, batch({(5, "a"): (number, 1)}), Txn("scan", number)) is True
    assert held(Lakehouse(tmp_path)) == {(5, "a"): (Decimal(4), 3)}


def test_a_sum_too_large_for_its_column_is_refused() -> None:
    for amount, units in (("999999999999999999999999.9999", 0), (0, 2**63 - 1)):
        row = batch({(0, "a"): (amount, units)})
        with pytest.raises(pa.ArrowInvalid):
            upserted(SALES, row, [1], row)


def test_a_minute_written_again_and_again_stays_in_one_piece(lake: Lakehouse) -> None:
    """Else each look at it and each merge would take longer than the one before."""
    for number in range(30):
        lake.upsert(SALES, batch({(0, "a"): (1, 1), (0, str(number)): (1, 1)}), Txn("scan", number))
    assert lake.between(SALES, SALES.column_names, MIDNIGHT, time(1))["amount"].num_chunks == 1
    assert held(lake)[(0, "a")] == (Decimal(30), 30)


@pytest.mark.spark
def test_spark_reads_and_goes_on_writing_behind_a_checkpoint_of_files_taken_out_by_hand(lake: Lakehouse, spark: SparkSession) -> None:
    for number in range(CHECKPOINT_EVERY + 3):
        lake.upsert(SALES, batch({(0, "a"): (1, 1)}), Txn("scan", number))
    frame = spark.read.format("delta").load(lake.path(SALES))
    assert DeltaLog(Path(lake.path(SALES))).checkpoint == CHECKPOINT_EVERY
    assert [(row.amount, row.units) for row in frame.collect()] == [(CHECKPOINT_EVERY + 3, CHECKPOINT_EVERY + 3)]
    spark.sql(f"UPDATE delta.`{lake.path(SALES)}` SET units = 0")
    lake.upsert(SALES, batch({(0, "a"): (1, 1)}), Txn("scan", 99))
    assert held(lake) == {(0, "a"): (Decimal(CHECKPOINT_EVERY + 4), 1)}


def test_checkpoints_become_rarer_as_the_log_grows_and_never_half_as_often_at_once() -> None:
    assert [checkpoint_span(version) for version in (0, 7_999, 8_000, 15_999, 16_000, 1_200_000)] == [20, 20, 40, 40, 80, 5_120]
    made = [version for version in range(1, 50_000) if version % checkpoint_span(version) == 0]
    assert all(later - earlier <= checkpoint_span(later) for earlier, later in pairwise(made))


def test_a_table_is_asked_once_for_what_an_app_wrote_until_somebody_else_writes(lake: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time it is asked, delta-rs reads all commits since the last checkpoint."""
    asked: list[str] = []
    answer = DeltaTable.transaction_version
    monkeypatch.setattr(DeltaTable, "transaction_version", lambda delta, app: asked.append(app) or answer(delta, app))
    for number in range(CHECKPOINT_EVERY + 3):
        lake.upsert(SALES, batch({(0, "a"): (1, 1)}), Txn("scan", number))
    assert len(asked) == len(set(asked))
    assert not lake.upsert(SALES, batch({(0, "a"): (1, 1)}), Txn("scan", 5))
    asked.clear()
    other = Lakehouse(lake.root)
    assert other.upsert(SALES, batch({(0, "a"): (1, 1)}), Txn("scan", 50))
    assert not lake.upsert(SALES, batch({(0, "a"): (1, 1)}), Txn("scan", 50))
    assert "scan" in asked


def test_old_rows_are_let_go_of_and_read_again(lake: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "MAX_BYTES", 1)
    for number in range(6):
        lake.upsert(SALES, batch({(number // 2, "a"): (1, 1)}), Txn("scan", number))
    assert [file.rows for file in lake._recent[SALES.name]._files.values()] == [None] * 3
    assert lake.between(SALES, ("units",), MIDNIGHT, time(2))["units"].to_pylist() == [2, 2]


STEP = st.one_of(
    st.tuples(
        st.sampled_from(["ours", "another's", "delta-rs's"]),
        st.dictionaries(st.tuples(st.integers(0, 5), st.sampled_from("abc")), st.integers(-9, 9), min_size=1, max_size=5),
    ),
    st.tuples(st.sampled_from(["compacted", "vacuumed", "opened"]), st.just({})),
)


def test_what_is_read_from_memory_is_what_stands_whoever_wrote_and_tidied_up(tmp_path_factory: pytest.TempPathFactory) -> None:
    @settings(max_examples=25, deadline=None, derandomize=True, database=None)
    @given(st.lists(STEP, min_size=1, max_size=8), st.integers(0, 6), st.integers(0, 6))
    def check(steps: list[tuple[str, dict[tuple[int, str], int]]], low: int, high: int) -> None:
        root = tmp_path_factory.mktemp("recent")
        lake, truth = Lakehouse(root), dict[tuple[int, str], int]()
        for number, (step, figures) in enumerate(steps):
            if step == "compacted":
                lake.look_after(SALES, lambda delta: compacted(delta, SALES, 1))
            elif step == "vacuumed":
                lake.look_after(SALES, lambda delta: vacuumed(delta, 7))
            elif step == "opened":
                lake = Lakehouse(root)
            else:
                rows = batch({grain: (amount, 1) for grain, amount in figures.items()})
                with pytest.MonkeyPatch.context() as patch:
                    if step == "delta-rs's":
                        patch.setattr(lakehouse, "ROWS_BY_HAND", 0)
                    (Lakehouse(root) if step == "another's" else lake).upsert(SALES, rows, Txn("scan", number))
                for grain, amount in figures.items():
                    truth[grain] = truth.get(grain, 0) + amount
            found = lake.between(SALES, ("window_start", "product_id", "amount"), time(low), time(high)).to_pylist()
            stands = [((row["window_start"] - MIDNIGHT) // timedelta(minutes=1), row["product_id"], row["amount"]) for row in found]
            assert sorted(stands) == sorted((minute, p, amount) for (minute, p), amount in truth.items() if low <= minute < high)

    check()
