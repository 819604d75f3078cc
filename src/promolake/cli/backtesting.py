"""When would a rule have fired? Over history (`alerts backtest`), and over given rows with expected alerts (`alerts test`)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
import typer
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rich.markup import escape
from rich.table import Table as Grid

from promolake import settings as configuration
from promolake.alerts import rules
from promolake.alerts.evaluating import Rows, Standing, evaluated
from promolake.alerts.message import Transition
from promolake.alerts.relations import MINUTE, View, time_column
from promolake.alerts.rules import AlertsFile, Rule
from promolake.alerts.samples import Samples
from promolake.alerts.watch import check, rows_of
from promolake.cli import out
from promolake.cli.alerting import alerts
from promolake.cli.watching import sources
from promolake.core.errors import NumbersDiffer, SettingsError
from promolake.core.table import Table
from promolake.engine.arrow import conformed
from promolake.engine.lakehouse import Lakehouse

WIDTH = 60  # of the timeline, in characters
_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]
_DAY = timedelta(days=1)


class Expected(BaseModel):
    """An alert a case expects: when it changes, and the labels its rule takes from columns."""

    model_config = ConfigDict(extra="forbid")
    status: Literal["firing", "resolved"]
    at: rules.Instant
    labels: dict[str, str] = {}


class Case(BaseModel):
    """Rows of the rule's table (or of its view, each `as_of` the minute it stood so), and all alerts they must lead to, in their order."""

    model_config = ConfigDict(extra="forbid")
    name: str = ""
    rule: str
    rows: list[dict[str, Any]] = Field(min_length=1)
    alerts: list[Expected] = []


class CasesFile(BaseModel):
    model_config = ConfigDict(extra="forbid")
    tests: tuple[Case, ...] = Field(min_length=1)


@alerts.command()
def backtest(
    context: typer.Context,
    rule: Annotated[str, typer.Option(help="The rule's name in conf/alerts.yaml.")],
    since: Annotated[datetime | None, typer.Option(help="From this time of the events on, UTC.", formats=_TIMES)] = None,
    until: Annotated[datetime | None, typer.Option(help="Until before this time, UTC.", formats=_TIMES)] = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw the value and the firings: an HTML file that needs no network.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Replay history minute by minute: when the rule would have fired, how often, for how long."""
    settings = configuration.load(context.obj)
    file = rules.load(settings.alerts_file)
    check(file, sources(), settings.alerts_file)
    ours = _named(file, rule)
    lake, table = Lakehouse(settings.lake), sources()[ours.table]
    low, high = span(lake, table, since, until)
    episodes = fired(replayed(ours, file, table, low, high, rows_of(lake)), ours, high)
    if plot:
        from promolake.cli.backtest_plot import plotted  # plotly takes its time to import

        try:
            plotted(plot, ours, table, low, high, rows_of(lake), episodes)
        except OSError as error:
            raise SettingsError(f"{plot} cannot be written: {error.strerror}.", "Name another file.") from None
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
    check(config, sources(), settings.alerts_file)
    cases, failures = _cases(file), 0
    for n, case in enumerate(cases, 1):
        ours = _named(config, case.rule)
        got = [_expected(one, ours).model_dump(mode="json") for one in _of_case(ours, config, sources()[ours.table], case.rows)]
        wanted = [one.model_dump(mode="json") for one in case.alerts]
        passed = got == wanted
        failures += not passed
        out.print(f"{'[green]passed[/green]' if passed else '[red]FAILED[/red]'} {n}: {escape(case.name or case.rule)}")
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


def fired(transitions: Iterable[Transition], rule: Rule, until: datetime) -> list[dict[str, Any]]:
    """Transitions as episodes; one that still fires ends at `until`."""
    episodes: dict[tuple[str, datetime], dict[str, Any]] = {}
    for one in transitions:
        ends = one.ends_at or until
        episodes[one.fingerprint, one.starts_at] = {
            "labels": ", ".join(f"{name}={one.labels[name]}" for name in rule.by),
            "starts_at": one.starts_at.isoformat(),
            "ends_at": ends.isoformat(),
            "minutes": int((ends - one.starts_at) / MINUTE),
            "value": one.value,
        }
    return sorted(episodes.values(), key=lambda one: (one["starts_at"], one["labels"]))


def span(lake: Lakehouse, table: Table, since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    """The minutes to replay: those asked for, as far as the table, or what the view reads, has rows."""
    read = table.reads if isinstance(table, View) else (table,)
    times = [time for one in read if lake.exists(one) for time in lake.read(one, (time_column(one),))[0].to_pylist()]
    if not times:
        raise SettingsError(f"{table.name} has no rows.", "Run the flows first.")
    first, last = min(times).astimezone(UTC), max(times).astimezone(UTC)
    low = max(first, since.replace(tzinfo=UTC)) if since else first
    high = min(last + MINUTE, until.replace(tzinfo=UTC)) if until else last + MINUTE
    return low.replace(second=0, microsecond=0), high.replace(second=0, microsecond=0)


def _of_case(rule: Rule, file: AlertsFile, table: Table, given: list[dict[str, Any]]) -> list[Transition]:
    when = time_column(table)
    try:
        complete = [dict.fromkeys(table.column_names) | row | {when: _instant(str(row[when]))} for row in given]
        everything = conformed(pa.table({name: pa.array([row[name] for row in complete]) for name in table.column_names}), table)
    except (KeyError, ValueError, pa.ArrowException) as error:
        raise SettingsError(f"A row of a case for {rule.alert} does not fit {table.name}: {error}.", f"It needs {when}.") from None
    low, high = min(row[when] for row in complete), max(row[when] for row in complete) + MINUTE
    return list(replayed(rule, file, table, low, high, lambda *_: everything))


def _cases(file: Path) -> tuple[Case, ...]:
    """Raises SettingsError with the line of what is wrong."""
    try:
        text = file.read_text()
        return CasesFile.model_validate(yaml.safe_load(text)).tests
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}.", "Name a file of cases.") from None
    except yaml.YAMLError:
        raise SettingsError(f"{file} is not YAML.", "Correct it.") from None
    except ValidationError as error:
        first = error.errors()[0]
        line = rules.line_of(text, first["loc"])
        raise SettingsError(f"{file}:{line}: {first['msg']}.", "It needs tests: [{rule, rows, alerts}].") from None


def _named(file: AlertsFile, name: str) -> Rule:
    found = next((rule for rule in file.rules if rule.alert == name), None)
    if found is None:
        raise SettingsError(f"There is no rule {name}.", f"Rules: {', '.join(rule.alert for rule in file.rules)}.")
    return found


def _expected(one: Transition, rule: Rule) -> Expected:
    return Expected(status=one.status, at=one.ends_at or one.starts_at, labels={name: one.labels[name] for name in rule.by})


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
