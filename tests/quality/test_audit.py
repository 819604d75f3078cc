"""What an audit finds, what it passes, and what it never says."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import great_expectations.expectations as gxe
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql.classic.dataframe import DataFrame

from driver import rows_through
from promolake.gold.gmv_per_minute import TABLE as GMV
from promolake.gold.machine_metrics_per_minute import TABLE as METRICS
from promolake.gold.sales_per_product_per_minute import TABLE as SALES
from promolake.hallway import HALLWAY
from promolake.quality.agreements import SUMS, volumes
from promolake.quality.contract import named
from promolake.quality.findings import AUDITS
from promolake.quality.suites import UNEVALUATED, Suites
from promolake.silver.orders import FLOW as ORDERS
from quality.conftest import CANARY, Audited

# --- a clean lake ----------------------------------------------------------------------------------------------------------------


def test_a_clean_lake_keeps_every_expectation(clean: Audited) -> None:
    assert clean.broken() == {}
    audited = {one.table_name for one in clean.found.findings}
    assert {flow.table.name for flow in (*HALLWAY.ingests, *HALLWAY.metrics, *HALLWAY.joins)} <= audited


def test_every_agreement_between_tables_was_looked_at_and_had_something_to_compare(clean: Audited) -> None:
    compared = {one.expectation: one.checked_count for one in clean.found.findings}
    names = [one.name for one in (*volumes(HALLWAY.ingests), *SUMS)]
    assert {name: compared[name] for name in names if not compared[name]} == {}
    assert len(names) == len(set(names))


def test_every_finding_stands_in_ops_audits_with_the_version_it_is_about(clean: Audited) -> None:
    rows = clean.rows()
    assert {(row["table_name"], row["expectation"]) for row in rows} == {(f.table_name, f.expectation) for f in clean.found.findings}
    assert len(rows) == len(clean.found.findings)
    assert {row["audited_at"] for row in rows} == {clean.began}
    assert len({row["audit_id"] for row in rows}) == 1
    assert {row["table_version"] for row in rows if row["table_name"] == ORDERS.table.name} == {clean.lake.version(ORDERS.table)}
    (orders,) = {row["checked_count"] for row in rows if row["expectation"] == "currency_code"}
    assert orders == clean.lake.read(ORDERS.table, ("event_id",)).num_rows


def test_what_is_only_held_masked_is_named_and_not_audited(clean: Audited) -> None:
    assert clean.found.skipped["silver.orders"] == (
        "user_id", "receiver_name", "receiver_phone", "receiver_email", "receiver_address", "payment_card_number",
    )  # fmt: skip


# --- a damaged lake --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "expectation", "count"),
    [
        (ORDERS.table, "currency_code", 1),
        (ORDERS.table, "price_not_negative", 1),
        (ORDERS.table, "paid_quantity_positive", 1),
        (ORDERS.table, "out_of_range:quantity", 1),
        (ORDERS.table, "unknown_status", 1),
        (ORDERS.table, "missing:product_id", 1),
        (ORDERS.table, "contract:product_id", 2),  # none, and one that is too long
        (ORDERS.table, "contract:event_time", 1),
        (ORDERS.table, "unique:event_id", 2),
        (ORDERS.table, "fresh", 1),
        (GMV, "unique:grain", 2),
        (GMV, "out_of_range:refund_amount", 1),
        (GMV, "whole_minute", 1),
        (SALES, "missing:sale_count", 1),
        (METRICS, "out_of_range:cpu_p75", 1),
    ],
    ids=lambda given: getattr(given, "name", None),
)
def test_what_is_wrong_is_found_under_its_name_and_counted(damaged: Audited, table, expectation: str, count: int) -> None:
    finding = damaged.broken()[table.name, expectation]
    assert finding.unexpected_count == count
    assert finding.is_failure


def test_nothing_else_is_found_in_the_rows(damaged: Audited) -> None:
    assert {name for table, name in damaged.broken() if table == METRICS.name} == {"out_of_range:cpu_p75"}
    assert {name for table, name in damaged.broken() if table == SALES.name} == {"missing:sale_count"}


def test_tables_that_no_longer_agree_are_found_with_their_figures(damaged: Audited) -> None:
    finding = damaged.broken()[GMV.name, "gmv_amount_as_sold"]
    assert re.fullmatch(r"[A-Z]{3}: [\d.]+ against [\d.]+.*", finding.details)
    assert (GMV.name, "gmv_as_paid") in damaged.broken()


def test_no_value_of_a_row_is_told(damaged: Audited, clean: Audited) -> None:
    """Not the phone number that stands where a status should, and none of the ids."""
    assert damaged.lake.read(ORDERS.table, ("status",), f"status = '{CANARY}'").num_rows == 1
    told = damaged.pages() | {"ops.audits": repr(damaged.rows()), "findings": repr(damaged.found)}
    assert [name for name, text in told.items() if CANARY in text or "past-the-stream" in text] == []


def test_however_many_rows_break_an_expectation_only_counts_come_to_the_driver(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    came = rows_through(monkeypatch, [(DataFrame, name) for name in ("collect", "toPandas", "toArrow")])
    nothing = F.lit(None).cast("string")
    rows = spark.range(200).select(*(F.concat(F.lit("x"), F.col("id") % 100).alias(name) for name in "ab"), nothing.alias("c"), "id")
    expected = [
        gxe.ExpectColumnValuesToNotBeNull(column="c", **named("missing", ["c"])),
        gxe.ExpectColumnValuesToBeNull(column="a", **named("contract", ["a"])),
        gxe.ExpectColumnValuesToBeInSet(column="a", value_set=["y"], **named("unknown", ["a"])),
        gxe.ExpectColumnValuesToBeBetween(column="id", min_value=-2, max_value=-1, **named("out_of_range", ["id"])),
        gxe.ExpectColumnValuesToBeUnique(column="a", **named("unique", ["a"])),
        gxe.ExpectCompoundColumnsToBeUnique(column_list=["a", "b"], **named("unique:grain", ["a", "b"])),
    ]
    results = Suites(tmp_path / "docs", "an audit", datetime(2026, 11, 11, tzinfo=UTC)).validated("broken", rows, expected, 200)
    assert [result.result["unexpected_count"] for result in results] == [200] * len(expected)
    assert max(came) == 1


def test_what_an_exception_says_is_not_told_either(spark: SparkSession, tmp_path: Path, clean: Audited) -> None:
    suites = Suites(tmp_path / "docs", "an audit", clean.began)
    rows = spark.range(3).select(F.when(F.col("id") == 1, F.raise_error(F.lit(CANARY))).otherwise(F.col("id")).alias("raising"))
    expected = [gxe.ExpectColumnValuesToNotBeNull(column="raising", **named("missing:raising", ["raising"]))]
    (result,) = suites.validated("raising", rows, expected, 3)
    suites.build(clean.began, {}, [])
    assert not result.success
    assert result.exception_info["exception_message"] == UNEVALUATED
    assert CANARY not in repr(result)
    assert [page for page in (tmp_path / "docs").rglob("*.html") if CANARY in page.read_text()] == []


# --- the pages -------------------------------------------------------------------------------------------------------------------


def test_the_first_page_names_every_suite_and_links_to_pages_that_are_there(clean: Audited) -> None:
    folder = clean.home / "audits" / "docs"
    index = (folder / "index.html").read_text()
    links = re.findall(r'href="([^"]+)"', index)
    assert all((folder / link).is_file() for link in links)
    suites = [flow.table.name for flow in (*HALLWAY.ingests, *HALLWAY.metrics, *HALLWAY.joins)] + ["volumes", "sums", "freshness"]
    for name in suites:
        assert f">{name}</a>" in index
        assert [link for link in links if link.startswith(f"validations/{name.replace('.', '/')}/")] != []


def test_the_first_page_of_a_damaged_lake_says_what_is_broken(damaged: Audited) -> None:
    index = (damaged.home / "audits" / "docs" / "index.html").read_text()
    assert "class=broken" in index
    assert "currency_code" in index


def test_no_page_fetches_or_runs_anything_and_each_finds_its_style(clean: Audited) -> None:
    for name, text in clean.pages().items():
        assert not re.search(r"https?:|<script|@import|url\(", text), name
        if name.endswith(".html"):
            (style,) = re.findall(r'<link rel="stylesheet" href="([^"]+)">', text)
            assert (clean.home / name).parent.joinpath(style).is_file()


def test_an_audit_speaks_to_no_other_machine(clean: Audited, damaged: Audited) -> None:
    assert clean.hosts | damaged.hosts <= {"127.0.0.1", "::1", "localhost", "a file"}


def test_nothing_half_made_is_left(clean: Audited) -> None:
    assert [path.name for path in (clean.home / "audits").iterdir()] == ["docs"]


def test_the_table_of_audits_is_described_as_every_table_is() -> None:
    assert [column.name for column in AUDITS.columns if not column.description.endswith(".")] == []
    assert {*AUDITS.stats} <= {*AUDITS.column_names}
