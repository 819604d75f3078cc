"""When would a rule have fired? Over history (`alerts backtest`), and over given rows with expected alerts (`alerts test`)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import typer
import yaml
from rich.markup import escape
from rich.table import Table as Grid

from promolake import settings as configuration
from promolake.alerts import rules
from promolake.alerts.evaluating import Rows, Standing, evaluated
from promolake.alerts.message import Transition
from promolake.alerts.rules import AlertsFile, Rule
from promolake.alerts.samples import MINUTE, Samples, time_column
from promolake.alerts.watch import check
from promolake.cli import out
from promolake.cli.alerting import alerts, sources
from promolake.core.errors import NumbersDiffer, SettingsError
from promolake.core.table import Table
from promolake.engine.arrow import arrow_schema, conformed
from promolake.engine.lakehouse import Lakehouse

WIDTH = 60  # of the timeline, in characters
_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]
_DAY = timedelta(days=1)


@alerts.command()
def backtest(
    context: typer.Context,
    rule: Annotated[str, typer.Option(help="The rule's name in conf/alerts.yaml.")],
    since: Annotated[datetime | None, typer.Option(help="From this time of the events on, UTC.", formats=_TIMES)] = None,
    until: Annotated[datetime | None, typer.Option(help="Until before this time, UTC.", formats=_TIMES)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Replay history minute by minute: when the rule would have fired, how often, for how long."""
    settings = configuration.load(context.obj)
    file = rules.load(settings.alerts_file)
    check(file, sources(), settings.alerts_file)
    ours = _named(file, rule)
    lake, table = Lakehouse(settings.lake), sources()[ours.table]
    low, high = span(lake, table, since, until)
    episodes = fired(replayed(ours, file, table, low, high, _rows_of(lake)), high)
    if as_json:
        print(json.dumps(episodes, indent=1))
        return
    minutes = sum(one["minutes"] for one in episodes)
    out.print(f"{rule} over {low:%F %H:%M} to {high:%F %H:%M} UTC: fired {len(episodes)} times, {minutes:,} minutes in all")
    grid = Grid("labels", "fired", "minutes", f"{low:%F %H:%M} ... {high:%F %H:%M}")
    for labels in sorted({one["labels"] for one in episodes}):
        mine = [one for one in episodes if one["labels"] == labels]
        grid.add_row(escape(labels or "-"), f"{len(mine):,}", f"{sum(one['minutes'] for one in mine):,}", _timeline(mine, low, high))
    if episodes:
        out.print(grid)


@alerts.command("test")
def tested(context: typer.Context, file: Annotated[Path, typer.Argument(help="Cases: rows given, alerts expected.")]) -> None:
    """Run cases of given rows and expected alerts, as promtool does. Exits 7 when one fails."""
    settings = configuration.load(context.obj)
    config = rules.load(settings.alerts_file)
    try:
        cases = yaml.safe_load(file.read_text())["tests"]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        raise SettingsError(f"{file} cannot be read as cases.", "It needs tests: [{rule, rows, alerts}].") from None
    failures = 0
    for n, case in enumerate(cases, 1):
        ours = _named(config, case["rule"])
        got = [_case_alert(one) for one in _of_case(ours, config, sources()[ours.table], case["rows"])]
        wanted = [{**one, "at": _instant(str(one["at"])).isoformat()} for one in case.get("alerts", [])]
        passed = got == wanted
        failures += not passed
        out.print(f"{'[green]passed[/green]' if passed else '[red]FAILED[/red]'} {n}: {escape(case.get('name', case['rule']))}")
        if not passed:
            out.print(f"  expected {escape(json.dumps(wanted))}\n  got      {escape(json.dumps(got))}", soft_wrap=True)
    if failures:
        raise NumbersDiffer(f"{failures} of {len(cases)} cases failed.", f"Mend {settings.alerts_file} or {file}.")


def replayed(rule: Rule, file: AlertsFile, table: Table, low: datetime, high: datetime, rows: Rows) -> Iterator[Transition]:
    """What changes from one minute until before another, a day at a time, as the stream would have seen it minute by minute."""
    standing, samples = Standing(looked=low - MINUTE), Samples()
    try:
        for start in (low + n * _DAY for n in range(-(-(high - low) // _DAY))):
            standing, changes = evaluated(rule, file, table, standing, (), min(start + _DAY, high), rows, samples)
            yield from changes
    finally:
        samples.close()


def fired(transitions: Iterable[Transition], until: datetime) -> list[dict[str, Any]]:
    """Transitions as episodes; one that still fires ends at `until`."""
    episodes: dict[tuple[str, datetime], dict[str, Any]] = {}
    for one in transitions:
        own = {name: value for name, value in one.labels.items() if name not in ("alertname", "severity", "team")}
        ends = one.ends_at or until
        episodes[one.fingerprint, one.starts_at] = {
            "labels": ", ".join(f"{name}={value}" for name, value in sorted(own.items())),
            "starts_at": one.starts_at.isoformat(),
            "ends_at": ends.isoformat(),
            "minutes": int((ends - one.starts_at) / MINUTE),
            "value": one.value,
        }
    return sorted(episodes.values(), key=lambda one: (one["starts_at"], one["labels"]))


def span(lake: Lakehouse, table: Table, since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    """The minutes to replay: those asked for, as far as the table has rows."""
    when = time_column(table)
    times = lake.read(table, (when,))[when].to_pylist() if lake.exists(table) else []
    if not times:
        raise SettingsError(f"{table.name} has no rows.", "Run the flows first.")
    first, last = min(times).astimezone(UTC), max(times).astimezone(UTC)
    low = max(first, since.replace(tzinfo=UTC)) if since else first
    high = min(last + MINUTE, until.replace(tzinfo=UTC)) if until else last + MINUTE
    return low.replace(second=0, microsecond=0), high.replace(second=0, microsecond=0)


def _rows_of(lake: Lakehouse) -> Rows:
    def rows(table: Table, columns: Iterable[str], low: datetime, high: datetime) -> pa.Table:
        when = time_column(table)
        return lake.read(table, columns, f"{when} >= '{low.isoformat()}' AND {when} < '{high.isoformat()}'")

    return rows


def _of_case(rule: Rule, file: AlertsFile, table: Table, given: list[dict[str, Any]]) -> list[Transition]:
    when = time_column(table)
    complete = [dict.fromkeys(table.column_names) | row | {when: _instant(str(row[when]))} for row in given]
    schema = arrow_schema(table)
    plain = pa.table({name: pa.array([row[name] for row in complete]) for name in table.column_names})
    everything = conformed(plain, table) if complete else schema.empty_table()
    low, high = min(row[when] for row in complete), max(row[when] for row in complete) + MINUTE
    return list(replayed(rule, file, table, low, high, lambda *_: everything))


def _case_alert(one: Transition) -> dict[str, Any]:
    own = {name: value for name, value in one.labels.items() if name not in ("alertname", "severity", "team")}
    return {"status": one.status, "at": (one.ends_at or one.starts_at).isoformat(), "labels": own}


def _named(file: AlertsFile, name: str) -> Rule:
    found = next((rule for rule in file.rules if rule.alert == name), None)
    if found is None:
        raise SettingsError(f"There is no rule {name}.", f"Rules: {', '.join(rule.alert for rule in file.rules)}.")
    return found


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _timeline(episodes: list[dict[str, Any]], low: datetime, high: datetime) -> str:
    """A line of WIDTH places, filled where the alert fired."""
    step = (high - low) / WIDTH
    marks = ["·"] * WIDTH
    for one in episodes:
        first = int((datetime.fromisoformat(one["starts_at"]) - low) / step)
        last = max(first + 1, -int((low - datetime.fromisoformat(one["ends_at"])) // step))
        marks[first : min(last, WIDTH)] = "█" * (min(last, WIDTH) - first)
    return "".join(marks)
