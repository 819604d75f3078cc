"""Every rule and field of every contract is expected of silver; every promise of a gold table is expected of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pyspark.sql import SparkSession

from promolake.cli.snapshots import problem
from promolake.core.flow import Ingest, Join, Metric
from promolake.core.rule import Rule
from promolake.hallway import HALLWAY
from promolake.quality.contract import NAME, of_gold, of_silver
from promolake.silver.orders import FLOW as ORDERS

pytestmark = pytest.mark.usefixtures("spark")
by_table = {"ids": lambda flow: flow.table.name}
ingests = pytest.mark.parametrize("flow", HALLWAY.ingests, **by_table)
gold = pytest.mark.parametrize("flow", [*HALLWAY.metrics, *HALLWAY.joins], **by_table)


def names(expectations) -> list[str]:
    return [expectation.meta[NAME] for expectation in expectations]


def ranges(table: str) -> dict[str, tuple[float | None, float | None]]:
    (flow,) = (flow for flow in HALLWAY.metrics if flow.table.name == table)
    found = of_gold(flow, HALLWAY.ingests).expectations
    return {one.meta[NAME]: (one.min_value, one.max_value) for one in found if "out_of_range" in one.meta[NAME]}


@ingests
def test_every_rule_is_expected(flow: Ingest) -> None:
    found = of_silver(flow, problem)
    assert {rule.name for rule in flow.rules} <= {*names(found.expectations)}
    assert {f"rule_{rule.name}" for rule in flow.rules} <= {*found.derived}


@ingests
def test_every_field_is_expected_as_its_contract_says_or_named_as_skipped(flow: Ingest) -> None:
    found = of_silver(flow, problem)
    expected = {*names(found.expectations)}
    for field in flow.topic.fields:
        if field.flat in found.skipped:
            assert field.sensitive or field.flat not in flow.table.column_names
            continue
        assert (f"missing:{field.flat}" in expected) == field.required
        assert (f"unknown_{field.flat}" in expected) == bool(field.one_of)
        assert (f"out_of_range:{field.flat}" in expected) == (field.minimum is not None)
        assert f"contract:{field.flat}" in expected or field.kind == "text" or (field.kind == "ip" and not field.required)


@ingests
def test_an_expectations_name_is_its_own_and_what_it_looks_at_is_there(flow: Ingest) -> None:
    found = of_silver(flow, problem)
    assert len(names(found.expectations)) == len({*names(found.expectations)})
    assert found.columns <= {*flow.table.column_names, *found.derived}


def test_a_rule_over_a_masked_field_is_skipped_and_named(spark: SparkSession) -> None:
    masked = Rule("phone_given", "A parcel has a phone.", lambda line: line("receiver_phone").isNotNull() & (line("quantity") > 0))
    found = of_silver(replace(ORDERS, rules=(*ORDERS.rules, masked)), problem)
    assert "phone_given" in found.skipped
    assert "phone_given" not in names(found.expectations)
    assert "rule_phone_given" not in found.derived


@gold
def test_gold_has_one_row_per_grain_and_no_figure_its_description_does_not_allow(flow: Metric | Join) -> None:
    found = of_gold(flow, HALLWAY.ingests)
    expected = {*names(found.expectations)}
    assert {"unique:grain", *(f"missing:{name}" for name in flow.table.grain)} <= expected
    for column in flow.table.columns:
        if column.name.endswith(("_count", "_amount", "_p75", "_avg")):
            assert f"out_of_range:{column.name}" in expected
        if "NULL" in column.description:
            assert f"missing:{column.name}" not in expected
    assert ("whole_minute" in expected) == ("window_start" in flow.table.column_names)


def test_money_given_back_is_negative_and_other_money_is_not() -> None:
    bounds = ranges("gold.gmv_per_minute")
    assert bounds["out_of_range:refund_amount"] == (None, 0)
    assert bounds["out_of_range:gmv_amount"] == bounds["out_of_range:order_count"] == (0, None)


def test_a_percentile_lies_within_the_bounds_of_what_was_measured() -> None:
    assert {bounds for name, bounds in ranges("gold.machine_metrics_per_minute").items() if "p75" in name} == {(0, 100_000)}
