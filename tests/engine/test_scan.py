"""A batch that is replayed after a crash adds nothing and loses nothing, whichever of its tables were committed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from day import NAMES, STREAMED, CleanRun, Day, assert_ranges_meet, rows_of, run_once, settings_for
from faults import Faults
from promolake.cli.agreement import compared, held, promised
from promolake.core.flow import Metric
from promolake.core.table import Table
from promolake.engine import kafka
from promolake.engine.lakehouse import Lakehouse
from promolake.engine.ledger import LEDGER
from promolake.engine.runner import chosen
from promolake.engine.scan import Scan
from promolake.engine.session import scan_session
from promolake.gold import sales_per_product_per_minute as sales
from promolake.hallway import HALLWAY
from promolake.silver import orders

GOLD = [flow.table for flow in STREAMED.metrics]
RECORDS_PER_BATCH = 60


def positions(lake: Lakehouse, table: Table) -> pa.Table:
    order = [(name, "ascending") for name in ("topic", "partition", "offset")]
    return lake.read(table, ["topic", "partition", "offset", "value"]).sort_by(order)


def books(lake: Lakehouse) -> dict[str, list[int]]:
    rows = lake.read(LEDGER, LEDGER.column_names).to_pylist()
    fates = ("read_count", "valid_count", "quarantined_count", "duplicate_count")
    return {topic: [sum(row[fate] for row in rows if row["topic"] == topic) for fate in fates] for topic in NAMES}


def assert_equal(lake: Lakehouse, undisturbed: Lakehouse) -> None:
    for table in GOLD:
        assert rows_of(lake, table).equals(rows_of(undisturbed, table)), table.name
    for flow in STREAMED.ingests:
        assert positions(lake, flow.bronze).equals(positions(undisturbed, flow.bronze)), flow.bronze.name
        ids = [sorted(one.read(flow.table, ["event_id"])["event_id"].to_pylist()) for one in (lake, undisturbed)]
        assert ids[0] == ids[1], flow.table.name
        broken = [sorted(map(str, one.read(flow.quarantine, ["violations"])["violations"].to_pylist())) for one in (lake, undisturbed)]
        assert broken[0] == broken[1], flow.quarantine.name
    assert books(lake) == books(undisturbed)
    assert_books_are_whole(lake)


def assert_books_are_whole(lake: Lakehouse) -> None:
    """What the ledger says of each fate stands in a table, and it has every record once."""
    assert_ranges_meet(lake)
    for flow in STREAMED.ingests:
        read, valid, quarantined, _ = books(lake)[flow.topic.name]
        counts = [lake.read(table, ["ingested_at"]).num_rows for table in (flow.bronze, flow.table, flow.quarantine)]
        assert counts == [read, valid, quarantined], flow.topic.name


def test_an_undisturbed_run_holds_exactly_what_was_sent(undisturbed: Lakehouse, day: Day) -> None:
    truth = {topic: [counts[name] for name in ("sent", "valid", "poison", "duplicate")] for topic, counts in day.truth["topics"].items()}
    assert books(undisturbed) == truth
    assert all(all(counts) for counts in truth.values()), "every topic has good, broken and repeated messages"
    assert_books_are_whole(undisturbed)
    assert [row for row in compared(promised(day.truth), {}, held(undisturbed)) if not row.agrees] == []
    ends = kafka.end_offsets(day.bootstrap, NAMES)
    assert sum(ends.values()) == day.sent


def test_a_conflict_is_quarantined_whole_and_silver_keeps_the_first(undisturbed: Lakehouse, day: Day) -> None:
    for flow in STREAMED.ingests:
        rows = undisturbed.read(flow.quarantine, ["violations", "value"]).to_pylist()
        clashing = [json.loads(row["value"]) for row in rows if row["violations"] == ["id_conflict"]]
        assert len(clashing) == day.truth["poison_reasons"][flow.topic.name].get("id_conflict", 0)
        ids = undisturbed.read(flow.table, ["event_id"])["event_id"].to_pylist()
        assert len(ids) == len(set(ids))
        assert {event["event_id"] for event in clashing} <= set(ids)


def test_error_events_are_forwarded_once_in_a_clean_run(clean_run: CleanRun, day: Day) -> None:
    errors = clean_run.lake.read(HALLWAY.forwards[0].reads, ["event_id"], "level = 'ERROR'")["event_id"].to_pylist()
    assert len(errors) == day.truth["error_count"] > 0
    assert sorted(clean_run.forwarded) == sorted(errors)


def waves() -> Iterator[list[str]]:
    """Every table once: in each wave two topics fail at bronze, two at quarantine, two at silver, and a third of gold; then the ledger."""
    for n in range(3):
        steps = ("bronze", "quarantine", "table")
        failing = [getattr(flow, steps[(place + n) % 3]) for place, flow in enumerate(STREAMED.ingests)]
        yield [table.name for table in (*failing, *GOLD[n::3])]
    yield [LEDGER.name]


@pytest.mark.spark
@pytest.mark.broker
def test_a_batch_left_half_written_is_finished_by_its_replay_whichever_tables_failed(
    undisturbed: Lakehouse, day: Day, spark: SparkSession, tmp_path: Path, faults: Faults
) -> None:
    """Each run fails where the wave's tables cannot be written, tries that batch again by itself, and goes on."""
    settings = settings_for(tmp_path, RECORDS_PER_BATCH)
    for n, wave in enumerate(waves()):
        faults.arm(*wave, from_batch=n)
    run_once(settings, day.bootstrap, spark)
    assert not faults.armed
    assert sorted(name for name, _ in faults.fired) == sorted(table.name for table in (*STREAMED.tables, LEDGER))
    assert len(faults.skipped) > len(faults.fired), "hardly a batch was replayed"
    assert_equal(Lakehouse(settings.lake), undisturbed)


@pytest.mark.spark
@pytest.mark.broker
def test_without_transactions_the_same_crash_counts_twice(
    undisturbed: Lakehouse, day: Day, spark: SparkSession, tmp_path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the test above can fail."""
    monkeypatch.setattr(Lakehouse, "_has_seen", lambda *_: False)
    settings, flows = settings_for(tmp_path), chosen(STREAMED, ["sales_per_product_per_minute"])
    faults.arm(LEDGER.name)
    run_once(settings, day.bootstrap, spark, flows)
    assert faults.fired == [(LEDGER.name, 0)]
    (sales,) = (metric.table for metric in flows.metrics)
    lakes = (undisturbed, Lakehouse(settings.lake))
    once, twice = (pc.sum(lake.read(sales, ["sales_amount"])["sales_amount"]).as_py() for lake in lakes)
    assert twice == 2 * once


def scan_of(spark: SparkSession, home: Path, *metrics: Metric) -> Scan:
    return Scan("main", spark, Lakehouse(home / "lake"), [orders.FLOW], metrics, (), 1, b"key", home / "spool")


@pytest.mark.spark
def test_a_metric_that_cannot_be_computed_is_the_only_one_named(spark: SparkSession, tmp_path: Path) -> None:
    def broken(lines: DataFrame) -> DataFrame:
        return sales.FLOW.function(lines).withColumn("currency", F.raise_error(F.lit("a mistake in a metric")).cast("string"))

    spoilt = replace(sales.FLOW, table=replace(sales.TABLE, name="gold.spoilt"), function=broken)
    scan, causes = scan_of(spark, tmp_path, sales.FLOW, spoilt), {}
    rows = scan._computed(scan._inputs(scan.examples(), causes), causes)
    assert set(rows) == {"sales_per_product_per_minute"}
    assert rows["sales_per_product_per_minute"].num_rows > 0
    assert {name: "a mistake in a metric" in str(cause) for name, cause in causes.items()} == {"gold.spoilt": True}
    scan.close()


@pytest.mark.spark
def test_where_no_metric_is_to_blame_the_batch_fails_as_it_did(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spool that cannot be written, for instance: to go on more slowly for ever, and say nothing, would hide it."""

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    scan, causes = scan_of(spark, tmp_path, sales.FLOW), {}
    inputs = scan._inputs(scan.examples(), causes)
    monkeypatch.setattr(scan._gold, "run", full)
    assert scan._computed(inputs, causes) == {}
    assert {name: str(cause) for name, cause in causes.items()} == {"main": "no space left on device"}
    scan.close()


def test_a_scan_that_goes_on_is_interpreted(spark: SparkSession) -> None:
    """Compiled, each small batch would wait for the text of its code."""
    assert scan_session(spark).conf.get("spark.sql.codegen.factoryMode") == "NO_CODEGEN"
