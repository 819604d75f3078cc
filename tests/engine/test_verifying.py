"""A lake whose numbers are right is found right, and every kind of damage to it is found, counted and told without naming a person."""

from __future__ import annotations

import shutil
from datetime import UTC, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyspark.sql import SparkSession
from pyspark.sql.classic.dataframe import DataFrame

from driver import rows_through
from engine.verified import (
    BY_NAME,
    JOIN,
    MARKS,
    Damage,
    Verified,
    a_little_more,
    changed,
    first_twice,
    no_touch,
    without_first,
    without_row,
)
from promolake.core.errors import SettingsError
from promolake.core.table import Table
from promolake.engine import verifying
from promolake.engine.lakehouse import Lakehouse
from promolake.engine.ledger import LEDGER
from promolake.engine.rebuilding import Rebuilder, Settler
from promolake.engine.verifying import BATCH, SQL, oracle, scope
from promolake.hallway import HALLWAY
from small_lake import filled

KEY = b"a pseudonym key for tests only"
PER_TOPIC, SEED = 120, 5  # of few seeds so small a day has cancelled and refunded lines
GOLD = [flow.table for flow in (*HALLWAY.metrics, *HALLWAY.joins)]
FEW = 2
OFFSETS = "offsets without hole or overlap"
BALANCE = "read = valid + quarantined + duplicate"
BATCHES = "each batch is in bronze"
COUNTS = "counts = rows of bronze, silver, quarantine"
PLACES = "each record in one place"

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def healthy(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lakehouse:
    lake = filled(tmp_path_factory.mktemp("healthy") / "lake", spark, KEY, PER_TOPIC, SEED)
    Settler(lake, lake.root.parent / MARKS).settle(JOIN)
    return lake


@pytest.fixture(scope="module")
def rebuilder(healthy: Lakehouse, spark: SparkSession) -> Rebuilder:
    """Over the healthy lake: what no test damages is computed once."""
    return Rebuilder(HALLWAY, spark, healthy, KEY, ())


@pytest.fixture
def by_spark(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """No table is small. Returns how many rows came to the driver, each time some did, from Spark and from Delta."""
    monkeypatch.setattr(verifying, "FEW", FEW)
    monkeypatch.setattr(DataFrame, "toLocalIterator", None)
    return rows_through(monkeypatch, [*((DataFrame, name) for name in ("toArrow", "collect", "toPandas")), (Lakehouse, "read")])


@pytest.fixture
def verified(healthy: Lakehouse, spark: SparkSession, rebuilder: Rebuilder, tmp_path: Path) -> Verified:
    shutil.copytree(healthy.root.parent, tmp_path, dirs_exist_ok=True)
    return Verified(tmp_path, spark, rebuilder)


# --- nothing is wrong ---------------------------------------------------------------------------------------------------------


def test_a_healthy_lake_is_found_right_in_every_table_and_book(verified: Verified) -> None:
    found = verified.findings()
    assert [finding for finding in found if not finding.agrees] == []
    assert {finding.subject for finding in found if finding.check == BATCH} == {
        table.name for table in HALLWAY.tables if table.layer != "bronze"
    }
    assert [finding.subject for finding in found if finding.check == SQL] == [table.name for table in GOLD]
    books = [finding for finding in found if finding.check not in (BATCH, SQL)]
    assert len(books) == 5 * len(HALLWAY.ingests)
    assert all(finding.rows for finding in found), "what has no rows proves nothing"


def test_every_fate_and_figure_occurs_in_the_lake_that_is_verified(healthy: Lakehouse) -> None:
    """Else the law above would say less than it seems to."""
    for flow in HALLWAY.ingests:
        book = healthy.read(LEDGER, LEDGER.column_names, f"topic = '{flow.topic.name}'")
        assert all(pc.sum(book[name]).as_py() > 0 for name in ("valid_count", "quarantined_count", "duplicate_count")), flow.topic.name
    for table in GOLD:
        rows = healthy.read(table, table.column_names)
        for column in table.columns:
            if column.type == "bigint" or column.type.startswith("decimal"):
                assert pc.any(pc.not_equal(rows[column.name], pa.scalar(0, rows[column.name].type))).as_py(), (table.name, column.name)
    attributed = healthy.read(JOIN.table, JOIN.table.column_names)
    assert 0 < attributed["view_id"].null_count < attributed.num_rows
    assert attributed["search_id"].null_count < attributed.num_rows


@pytest.mark.parametrize("table", GOLD, ids=lambda table: table.name)
def test_every_gold_table_has_an_oracle_that_names_all_its_columns(table: Table) -> None:
    assert all(name in oracle(table) for name in table.column_names)
    assert oracle(table).startswith("-- ")


def test_of_a_large_table_nothing_comes_to_the_driver_but_counts_and_an_example(verified: Verified, by_spark: list[int]) -> None:
    names = ("gold.traffic_per_minute", "gold.machine_metrics_per_minute", "silver.orders", "silver.quarantine_orders", JOIN.table.name)
    assert [finding for finding in verified.findings(*names) if not finding.agrees] == []
    assert max(by_spark) <= FEW + 1
    for name in names:
        verified.damage(name, lambda rows: rows.slice(0, 0))
    by_spark.clear()
    wrong = verified.wrong(*names)
    assert {(check, name) for check, name in wrong if check in (BATCH, SQL)} >= {(BATCH, name) for name in names}
    assert max(by_spark) <= FEW + 1


# --- damage in gold -----------------------------------------------------------------------------------------------------------


def figures(table: Table) -> list[str]:
    is_number = {column.name for column in table.columns if column.type in ("bigint", "double") or column.type.startswith("decimal")}
    return [name for name in table.figures if name in is_number]


@pytest.mark.parametrize("way", ["in memory", "by Spark"])
@pytest.mark.parametrize("table", GOLD, ids=lambda table: table.name)
def test_every_figure_that_is_off_by_the_least_is_found_both_ways(
    verified: Verified, table: Table, way: str, request: pytest.FixtureRequest
) -> None:
    if way == "by Spark":
        request.getfixturevalue("by_spark")
    verified.damage(table.name, a_little_more(*figures(table)))
    wrong = verified.wrong(table.name)
    assert set(wrong) == {(BATCH, table.name), (SQL, table.name)}
    assert all(said.startswith("1 changed; ") and said.endswith(f": {', '.join(figures(table))}") for said in wrong.values()), wrong


@pytest.mark.usefixtures("by_spark")
def test_spark_finds_what_stands_twice_and_what_a_join_has_yet_to_be_settled_for(verified: Verified) -> None:
    verified.damage("silver.orders", first_twice)
    verified.never_settled()
    verified.damage(JOIN.table.name, no_touch)
    found = {(one.check, one.subject): one for one in verified.findings("silver.orders", JOIN.table.name) if not one.agrees}
    assert found[BATCH, "silver.orders"].example.startswith("1 extra; ")
    assert [found[check, JOIN.table.name].behind for check in (BATCH, SQL)] == [True, False], "silver has one order more now"


@pytest.mark.parametrize("table", GOLD, ids=lambda table: table.name)
@pytest.mark.parametrize(("damage", "kind"), [(without_first, "1 missing; "), (first_twice, "1 extra; ")])
def test_a_row_that_is_missing_or_one_too_many_is_found_both_ways(verified: Verified, table: Table, damage: Damage, kind: str) -> None:
    verified.damage(table.name, damage)
    wrong = verified.wrong(table.name)
    assert set(wrong) == {(BATCH, table.name), (SQL, table.name)}
    assert all(said.startswith(kind) for said in wrong.values())


def test_no_address_and_no_person_is_told(verified: Verified) -> None:
    verified.damage("gold.requests_per_ip_per_minute", a_little_more("request_count"))
    verified.damage("silver.requests", without_first)
    said = " ".join(verified.wrong("requests_per_ip_per_minute", "silver.requests").values())
    addresses = set(verified.lake.read(BY_NAME["gold.requests_per_ip_per_minute"], ["ip"])["ip"].to_pylist())
    assert "window_start 2024-11-11T" in said
    assert not [address for address in addresses if address in said]


def test_a_sketch_of_other_visitors_is_found_though_it_counts_as_many(verified: Verified) -> None:
    from datasketches import HLL_8, hll_sketch

    def others(rows: pa.Table) -> pa.Table:
        book = rows.to_pylist()
        other = hll_sketch(12, HLL_8)
        for n in range(book[0]["visitor_count"]):
            other.update(f"visitor {n}")
        book[0]["visitor_sketch"] = other.serialize_updatable()
        return pa.Table.from_pylist(book, rows.schema)

    verified.damage("gold.traffic_per_minute", others)
    assert list(verified.wrong("gold.traffic_per_minute")) == [(BATCH, "gold.traffic_per_minute")]


def test_bytes_that_are_no_sketch_are_found_both_ways(verified: Verified) -> None:
    def junk(rows: pa.Table) -> pa.Table:
        return pa.Table.from_pylist([row | {"visitor_sketch": b"junk"} for row in rows.to_pylist()], rows.schema)

    verified.damage("gold.traffic_per_minute", junk)
    assert {check for check, _ in verified.wrong("gold.traffic_per_minute")} == {BATCH, SQL}


# --- damage in silver and quarantine ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["silver.orders", "silver.log_events", "silver.quarantine_orders", "silver.quarantine_requests"])
def test_a_silver_or_quarantined_row_that_is_missing_is_found_in_the_table_and_in_the_books(verified: Verified, name: str) -> None:
    topic = next(flow.topic.name for flow in HALLWAY.ingests if name in (flow.table.name, flow.quarantine.name))
    verified.damage(name, without_first)
    wrong = verified.wrong(name)
    assert set(wrong) == {(BATCH, name), (COUNTS, topic)}
    assert wrong[BATCH, name].startswith("1 missing; ")


@pytest.mark.parametrize("name", ["silver.orders", "silver.quarantine_orders"])
def test_a_row_that_stands_twice_is_found_in_the_table_and_in_the_books(verified: Verified, name: str) -> None:
    verified.damage(name, first_twice)
    wrong = verified.wrong(name)
    assert set(wrong) == {(BATCH, name), (COUNTS, "shop.orders"), (PLACES, "shop.orders")}
    assert wrong[BATCH, name].startswith("1 extra; ")


def test_a_silver_value_that_bronze_does_not_give_is_found(verified: Verified) -> None:
    verified.damage("silver.orders", a_little_more("unit_price"))
    assert verified.wrong("silver.orders")[BATCH, "silver.orders"].endswith(": unit_price")


def test_a_record_in_silver_and_in_quarantine_is_found_though_the_counts_are_right(verified: Verified) -> None:
    def at_a_valid_position(rows: pa.Table) -> pa.Table:
        valid = verified.lake.read(BY_NAME["silver.orders"], ["partition", "offset"]).slice(0, 1).to_pylist()
        return pa.Table.from_pylist([rows.slice(0, 1).to_pylist()[0] | valid[0], *rows.slice(1).to_pylist()], rows.schema)

    verified.damage("silver.quarantine_orders", at_a_valid_position)
    assert (PLACES, "shop.orders") in verified.wrong("silver.quarantine_orders")


# --- damage in the books ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "checks", "said"),
    [
        (changed(1, first_offset=1, read_count=-1, valid_count=-1), {OFFSETS, BATCHES, COUNTS}, "are a hole"),
        (changed(1, first_offset=-1, read_count=1, valid_count=1), {OFFSETS, BATCHES, COUNTS}, "overlaps what was read before"),
        (without_row(0), {OFFSETS, BATCHES, COUNTS}, "offsets 0 to "),
        (without_row(1), {BATCHES, COUNTS}, ""),
        (changed(0, valid_count=1), {BALANCE, COUNTS}, "valid"),
        (changed(0, valid_count=1, duplicate_count=-1), {COUNTS}, "valid"),
        (changed(0, quarantined_count=1, duplicate_count=-1), {COUNTS}, "quarantined"),
        (changed(0, last_offset=-1), {OFFSETS, BATCHES}, "are a hole|records in 0 to"),
    ],
    ids=["hole", "overlap", "first batch gone", "last batch gone", "unbalanced", "valid for duplicate", "wrong fate", "short range"],
)
def test_books_that_are_wrong_are_found(verified: Verified, damage: Damage, checks: set[str], said: str) -> None:
    verified.damage(LEDGER.name, damage)
    wrong = verified.wrong("ops.ledger")
    assert set(wrong) == {(check, "shop.orders") for check in checks}
    assert pc.match_substring_regex(pa.array([" ".join(wrong.values())]), said)[0].as_py(), wrong


def with_row(rows: pa.Table, row: dict) -> pa.Table:
    return pa.concat_tables([rows, pa.Table.from_pylist([row], rows.schema)])


def test_a_correction_moves_counts_and_reads_nothing(verified: Verified) -> None:
    """What is replayed out of quarantine is written down as one row that read nothing."""
    (flow,) = (flow for flow in HALLWAY.ingests if flow.topic.name == "shop.orders")
    moved = verified.lake.read(flow.quarantine, ["partition", "offset", "ingested_at"]).slice(0, 1).to_pylist()[0]
    verified.damage(flow.quarantine.name, without_first)
    verified.damage(flow.table.name, lambda rows: with_row(rows, rows.slice(0, 1).to_pylist()[0] | moved))
    assert (COUNTS, "shop.orders") in verified.wrong("ops.ledger")
    correction = {"query": "replay", "batch_id": 0, "topic": "shop.orders", "partition": moved["partition"], "read_count": 0}
    correction |= {"first_offset": moved["offset"], "last_offset": moved["offset"], "ingested_at": moved["ingested_at"]}
    correction |= {"valid_count": 1, "quarantined_count": -1, "duplicate_count": 0}
    verified.damage(LEDGER.name, lambda rows: with_row(rows, correction))
    assert verified.wrong("ops.ledger") == {}
    unbalanced = correction | {"quarantined_count": 0}
    verified.damage(LEDGER.name, lambda rows: with_row(rows, unbalanced))
    assert set(verified.wrong("ops.ledger")) == {(BALANCE, "shop.orders"), (COUNTS, "shop.orders")}


def test_a_topic_whose_oldest_records_kafka_had_deleted_begins_where_bronze_does(verified: Verified) -> None:
    def later(rows: pa.Table) -> pa.Table:
        offsets = [name for name in rows.column_names if name.endswith("offset")]
        book = rows.to_pylist()
        for row in book:
            if row.get("topic") in (None, "shop.orders"):  # the others of the ledger stay
                row |= {name: row[name] + 1000 for name in offsets}
        return pa.Table.from_pylist(book, rows.schema)

    for name in ("bronze.shop_orders", "silver.orders", "silver.quarantine_orders", LEDGER.name):
        verified.damage(name, later)
    assert verified.wrong("ops.ledger") == {}


# --- a part of it -------------------------------------------------------------------------------------------------------------


def test_since_leaves_out_what_was_before_and_nothing_else(verified: Verified) -> None:
    for name, time in (("gold.gmv_per_minute", "window_start"), ("gold.attributed_orders", "event_time"), ("silver.views", "event_time")):
        times = verified.lake.read(BY_NAME[name], [time])[time]
        second = sorted(set(times.to_pylist()))[1].astimezone(UTC)
        verified.damage(name, lambda rows, time=time: rows.filter(pc.greater(rows[time], pc.min(rows[time]))))
        differing = {check for check, _ in verified.wrong(name)} & {BATCH, SQL}
        assert differing == ({BATCH} if name == "silver.views" else {BATCH, SQL})
        later = [finding for finding in verified.findings(name, since=second) if finding.check in (BATCH, SQL)]
        assert all(finding.agrees and finding.rows for finding in later)
        assert {BATCH, SQL} & {check for check, _ in verified.wrong(name, since=second - timedelta(days=1))} == differing


def test_a_table_is_named_with_or_without_its_layer_and_brings_the_books_that_feed_it() -> None:
    funnel = scope(HALLWAY, ["funnel_per_minute"])
    assert funnel == scope(HALLWAY, ["gold.funnel_per_minute"])
    assert [flow.topic.name for flow in funnel.books] == ["shop.searches", "shop.views", "shop.orders"]
    assert ([flow.table.name for flow in funnel.gold], funnel.silver) == (["gold.funnel_per_minute"], frozenset())
    assert scope(HALLWAY, ["quarantine_views"]).silver == {"silver.quarantine_views"}
    assert (len(scope(HALLWAY, ["ops.ledger"]).books), scope(HALLWAY, ["ops.ledger"]).gold) == (6, ())
    with pytest.raises(SettingsError, match=r"There is no table gold\.gmv\. Tables: bronze\.shop_searches, .*ops\.ledger"):
        scope(HALLWAY, ["gold.gmv"])


# --- a join that is not settled -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [without_first, no_touch])
def test_what_a_join_has_yet_to_be_settled_for_is_told_apart_from_what_is_wrong(verified: Verified, damage: Damage) -> None:
    verified.never_settled()
    verified.damage(JOIN.table.name, damage)
    found = [finding for finding in verified.findings(JOIN.table.name) if not finding.agrees]
    assert [(finding.check, finding.differing, finding.behind) for finding in found] == [(BATCH, 1, True), (SQL, 1, True)]
    verified.settle()
    assert all(finding.agrees for finding in verified.findings(JOIN.table.name))
    verified.damage(JOIN.table.name, damage)
    assert {check for check, _ in verified.wrong(JOIN.table.name)} == {BATCH, SQL}


@pytest.mark.parametrize("damage", [first_twice, a_little_more("line_amount")])
def test_what_settling_would_not_mend_is_wrong_at_once(verified: Verified, damage: Damage) -> None:
    verified.never_settled()
    verified.damage(JOIN.table.name, damage)
    assert {check for check, _ in verified.wrong(JOIN.table.name)} == {BATCH, SQL}
