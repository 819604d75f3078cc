"""One audit: every table against its contract, tables against each other, and what was found."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import great_expectations.expectations as gxe
import pandas as pd
from great_expectations.core import ExpectationValidationResult
from pyspark.sql import DataFrame

from promolake.core.flow import Hallway
from promolake.core.table import Table
from promolake.quality.agreements import SUMS, Agreement, Ask, Figure, Values, measured, newest, sides, volumes
from promolake.quality.contract import COLUMNS, NAME, Expected, Problem, named, of_gold, of_silver
from promolake.quality.findings import WARNING, Finding
from promolake.quality.suites import UNEVALUATED, Suites

MAX_KEYS = 3  # that differ, named in a finding
_KEY = re.compile(r"[A-Z]{3}|\d{4}-\d{2}-\d{2}|[a-z]+\.[a-z]+")  # a currency, a day, a topic


@dataclass(frozen=True)
class Snapshot:
    """The rows of a table as of one version, for Spark and for SQL over a table `t`."""

    table: Table
    version: int
    rows: Callable[[], DataFrame]
    ask: Ask


@dataclass(frozen=True)
class Audit:
    """What an audit found; `skipped` names by table the fields and rules silver does not hold in the form they were judged in."""

    findings: tuple[Finding, ...]
    skipped: dict[str, tuple[str, ...]]
    ages: dict[str, float]  # minutes since silver's newest row was taken in, by table


def audit(
    hallway: Hallway,
    snapshots: Mapping[str, Snapshot],
    problem: Problem,
    suites: Suites,
    audited_at: datetime,
    say: Callable[[str], None],
    max_age: float | None = None,
    is_consistent: bool = True,
) -> Audit:
    """Audits the silver and gold tables among `snapshots` (by name), and what must agree between tables that are all among them.

    With `max_age`, silver rows must have been taken in within so many minutes. Snapshots that are not of one moment
    (`is_consistent`) cannot be held to agree: what differs between them is a warning.
    """
    entities = [flow for flow in hallway.ingests if flow.table.name in snapshots]
    metrics = [flow for flow in (*hallway.metrics, *hallway.joins) if flow.table.name in snapshots]
    expected = [*(of_silver(flow, problem) for flow in entities), *(of_gold(flow, hallway.ingests) for flow in metrics)]
    volume = [one for one in volumes(hallway.ingests) if one.tables <= snapshots.keys()]
    sums = [one for one in SUMS if one.tables <= snapshots.keys()]
    ages = {flow.table.name: newest(flow) for flow in entities}
    figures = {*ages.values(), *(figure for one in (*volume, *sums) for figure in one.figures)}
    findings: dict[str, list[Finding]] = {}
    for one in expected:
        say(f"auditing {one.table.name}")
        findings[one.table.name] = _kept(one, snapshots[one.table.name], suites)
    found = measured(figures, {name: snapshot.ask for name, snapshot in snapshots.items()})
    for name, agreements in (("volumes", volume), ("sums", sums)):
        if agreements:
            findings[name] = _agreed(name, agreements, found, snapshots, suites, is_consistent)
    minutes = {table: _minutes(audited_at, *found[figure].values()) for table, figure in ages.items() if found[figure]}
    if max_age is not None and entities:
        findings["freshness"] = _fresh({flow.table.name: minutes.get(flow.table.name) for flow in entities}, max_age, snapshots, suites)
    skipped = {one.table.name: one.skipped for one in expected if one.skipped}
    suites.build(audited_at, findings, [*map(not_audited, skipped, skipped.values()), ages_said(minutes)])
    return Audit(tuple(finding for some in findings.values() for finding in some), skipped, minutes)


def not_audited(table: str, names: Sequence[str]) -> str:
    return f"{table} does not hold these as they were judged in the stream, so they are not audited: {', '.join(names)}."


def ages_said(minutes: Mapping[str, float]) -> str:
    return f"Minutes since the newest row was taken in: {', '.join(f'{table} {age:.0f}' for table, age in minutes.items()) or 'no rows'}."


def _minutes(audited_at: datetime, seconds: Decimal) -> float:
    """0 for a row that a stream took in while the audit began."""
    return max(0.0, (audited_at.timestamp() - float(seconds)) / 60)


def _kept(expected: Expected, snapshot: Snapshot, suites: Suites) -> list[Finding]:
    ((checked,),) = (row.values() for row in snapshot.ask("SELECT count(*) FROM t"))
    held = [name for name in expected.table.column_names if name in expected.columns]
    rows = snapshot.rows().select(*held, *(column.alias(name) for name, column in expected.derived.items()))
    return [
        _finding(snapshot, result, checked, f"{_count(result):,} of {checked:,} rows" if _count(result) else "")
        for result in suites.validated(expected.table.name, rows, expected.expectations, checked)
    ]


def _agreed(
    name: str,
    agreements: Sequence[Agreement],
    found: Mapping[Figure, Values],
    snapshots: Mapping[str, Snapshot],
    suites: Suites,
    is_consistent: bool,
) -> list[Finding]:
    both = [sides(one, found) for one in agreements]
    columns = {
        f"{one.name}.{side}": pd.Series({key: values[n] for key, values in pairs.items()}, dtype=object)
        for one, pairs in zip(agreements, both, strict=True)
        for n, side in enumerate(("left", "right"))
    }
    expectations = [
        gxe.ExpectColumnPairValuesToBeEqual(
            column_A=f"{one.name}.left",
            column_B=f"{one.name}.right",
            ignore_row_if="both_values_are_missing",
            description=one.description,
            **named(one.name, [_said(one.left), " + ".join(map(_said, one.right))], one.severity if is_consistent else WARNING),
        )
        for one in agreements
    ]
    rows = pd.DataFrame(columns)
    return [
        _finding(snapshots[one.left.table], result, len(pairs), _differing(pairs))
        for one, pairs, result in zip(agreements, both, suites.validated(name, rows, expectations, len(rows)), strict=True)
    ]


def _fresh(minutes: dict[str, float | None], max_age: float, snapshots: Mapping[str, Snapshot], suites: Suites) -> list[Finding]:
    """A table without a row is older than any bound."""
    ages = pd.DataFrame({table: [math.inf if age is None else age] for table, age in minutes.items()})
    says = f"The newest row was taken in within {max_age:g} minutes before the audit."
    expectations = [
        gxe.ExpectColumnValuesToBeBetween(column=table, max_value=max_age, description=says, **named("fresh", ["ingested_at"]))
        for table in minutes
    ]
    return [
        _finding(snapshots[table], result, 1, "no row" if age is None else f"{age:.1f} minutes old")
        for (table, age), result in zip(minutes.items(), suites.validated("freshness", ages, expectations, 1), strict=True)
    ]


def _finding(snapshot: Snapshot, result: ExpectationValidationResult, checked: int, details: str) -> Finding:
    config = result.expectation_config
    unevaluated = result.exception_info and result.exception_info.get("raised_exception")
    return Finding(
        table_name=snapshot.table.name,
        table_version=snapshot.version,
        expectation=config.meta[NAME],
        kind=config.type,
        column_names=config.meta[COLUMNS],
        severity=str(config.severity.value),
        is_success=bool(result.success),
        checked_count=checked,
        unexpected_count=None if unevaluated else _count(result),
        details=UNEVALUATED if unevaluated else details,
    )


def _count(result: ExpectationValidationResult) -> int:
    return int(result.result.get("unexpected_count") or 0)


def _differing(pairs: Mapping[str, tuple[Decimal, Decimal]]) -> str:
    different = [f"{_told(key)}: {_plain(left)} against {_plain(right)}" for key, (left, right) in pairs.items() if left != right]
    more = [f"and {len(different) - MAX_KEYS} more"] if len(different) > MAX_KEYS else []
    return "; ".join([*different[:MAX_KEYS], *more])


def _told(key: str) -> str:
    """A key is a value of rows too, and audits are made for rows that are not as they should be."""
    return key if _KEY.fullmatch(key) else "a key that is none"


def _plain(value: Decimal) -> str:
    return f"{value.normalize():f}"


def _said(figure: Figure) -> str:
    return f"{figure.sql} of {figure.table}"
