"""From the contracts to expectations: what a topic, its rules and a gold table promise is written once, there, and expected here.

Expectations are named as quarantine names its reasons (`missing:order_id`, a rule's name), so both can be read side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import great_expectations.expectations as gxe
from great_expectations.expectations.expectation import Expectation
from pyspark.sql import Column as SparkColumn
from pyspark.sql import functions as F

from promolake.core.flow import Ingest, Join, Metric
from promolake.core.rule import Rule
from promolake.core.table import Column, Table
from promolake.core.topic import Field
from promolake.quality.findings import CRITICAL

NAME, COLUMNS = "name", "columns"  # in an expectation's meta: what it is called in ops.audits, and the columns it is about
Problem = Callable[[Field], SparkColumn | None]
"""The stream's own judgement of a field, over the silver column that holds it: the reason it is refused for, NULL for none. None where
nothing can be wrong with a field of its kind."""


@dataclass(frozen=True)
class Expected:
    """What is expected of one table; `derived` are the columns to add to its rows, `skipped` the rules and fields not held by it."""

    table: Table
    expectations: tuple[Expectation, ...]
    derived: dict[str, SparkColumn] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()

    @property
    def columns(self) -> set[str]:
        """The columns, derived ones included, that its expectations look at."""
        kwargs = [expectation.configuration.kwargs for expectation in self.expectations]
        return {name for one in kwargs for name in (one.get("column_list") or [one["column"]])}


def of_silver(flow: Ingest, problem: Problem) -> Expected:
    """Every field that stands in silver as it came, every rule over such fields, and one row per event_id and UTC date."""
    held = [one for one in flow.topic.fields if one.flat in flow.table.column_names and not one.sensitive]
    problems = {one: found for one in held if (found := problem(one)) is not None}
    rules = {rule: asked_of(rule) <= {one.flat for one in held} for rule in flow.rules}
    return Expected(
        flow.table,
        (
            *(expectation for one in held for expectation in _of_field(one)),
            *(
                gxe.ExpectColumnValuesToBeNull(
                    column=f"problem_{one.flat}",
                    description=f"{one.flat} is what the stream lets pass.",
                    **named(f"contract:{one.flat}", [one.flat]),
                )
                for one in problems
            ),
            *(
                gxe.ExpectColumnValuesToBeInSet(
                    column=f"rule_{rule.name}",
                    value_set=[True],
                    description=rule.description,
                    **named(rule.name, sorted(asked_of(rule))),
                )
                for rule, is_held in rules.items()
                if is_held
            ),
            gxe.ExpectColumnValuesToNotBeNull(column="ingested_at", **named("missing:ingested_at", ["ingested_at"])),
            gxe.ExpectCompoundColumnsToBeUnique(
                column_list=["event_id", "event_date"],
                description="An event stands here once (an event_id is recognised again within the UTC date of its event).",
                **named("unique:event_id", ["event_id", "event_time"]),
            ),
        ),
        {f"problem_{one.flat}": column for one, column in problems.items()}
        | {f"rule_{rule.name}": rule.holds(F.col) for rule, is_held in rules.items() if is_held}
        | {"event_date": F.to_date("event_time")},
        (
            *(one.flat for one in flow.topic.fields if one not in held),
            *(rule.name for rule, is_held in rules.items() if not is_held),
        ),
    )


def of_gold(flow: Metric | Join, ingests: Iterable[Ingest]) -> Expected:
    """One row per grain, no NULL and no sign its description does not allow, and windows of one whole minute."""
    table = flow.table
    within = _bounds(flow, ingests)
    # What a join matches may be missing.
    given = flow.reads[0].columns if isinstance(flow, Join) else table.column_names
    always = {column.name for column in table.columns if column.name in given and "NULL" not in column.description}
    windowed = "window_start" in table.column_names
    minute = F.col("window_start") == F.date_trunc("minute", "window_start")
    expectations = [
        *(
            gxe.ExpectColumnValuesToNotBeNull(column=column.name, **named(f"missing:{column.name}", [column.name]))
            for column in table.columns
            if column.name in always
        ),
        *(
            gxe.ExpectColumnValuesToBeBetween(
                column=column.name, min_value=low, max_value=high, **named(f"out_of_range:{column.name}", [column.name])
            )
            for column in table.columns
            for low, high in _range(column, within)
        ),
        _unique(table.grain),
    ]
    if windowed:
        expectations.append(
            gxe.ExpectColumnValuesToBeInSet(
                column="rule_whole_minute",
                value_set=[True],
                description="A window is one whole minute.",
                **named("whole_minute", ["window_start", "window_end"]),
            )
        )
    length = F.col("window_end") == F.col("window_start") + F.expr("INTERVAL 1 MINUTE")
    return Expected(table, tuple(expectations), {"rule_whole_minute": minute & length} if windowed else {})


def asked_of(rule: Rule) -> set[str]:
    """The fields a rule looks at."""
    asked: set[str] = set()

    def row(name: str) -> SparkColumn:
        asked.add(name)
        return F.col(name)

    rule.holds(row)
    return asked


def _of_field(one: Field) -> list[Expectation]:
    found: list[Expectation] = []
    column = one.flat
    if one.required:
        found.append(gxe.ExpectColumnValuesToNotBeNull(column=column, **named(f"missing:{column}", [column])))
    if one.one_of:
        found.append(gxe.ExpectColumnValuesToBeInSet(column=column, value_set=list(one.one_of), **named(f"unknown_{column}", [column])))
    if one.minimum is not None or one.maximum is not None:
        within = {"min_value": one.minimum, "max_value": one.maximum}
        found.append(gxe.ExpectColumnValuesToBeBetween(column=column, **within, **named(f"out_of_range:{column}", [column])))
    return found


def _unique(grain: Sequence[str]) -> Expectation:
    if len(grain) == 1:
        return gxe.ExpectColumnValuesToBeUnique(column=grain[0], **named("unique:grain", grain))
    return gxe.ExpectCompoundColumnsToBeUnique(column_list=list(grain), **named("unique:grain", grain))


def _bounds(flow: Metric | Join, ingests: Iterable[Ingest]) -> dict[str, tuple[int | None, int | None]]:
    """The bounds of the measured fields a gold table is made of: its averages and percentiles lie within them."""
    read = {reads.table for reads in flow.reads}
    fields = [one for ingest in ingests if ingest.table in read for one in ingest.topic.fields if one.kind == "percent"]
    return {column: (one.minimum, one.maximum) for column in flow.table.figures for one in fields if column.startswith(f"{one.flat}_")}


def _range(column: Column, within: dict[str, tuple[int | None, int | None]]) -> list[tuple[int | None, int | None]]:
    if column.name in within:
        return [within[column.name]]
    if column.name.endswith("_amount"):
        return [(None, 0)] if "negative" in column.description else [(0, None)]
    return [(0, None)] if column.name.endswith("_count") else []


def named(name: str, columns: Iterable[str], severity: str = CRITICAL) -> dict[str, Any]:
    """What every expectation is given besides its own arguments."""
    return {"meta": {NAME: name, COLUMNS: ", ".join(columns)}, "severity": severity}
