"""Are the numbers right? `verify` recomputes them two ways and says where they differ."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table as Grid

from promolake import settings as configuration
from promolake.cli import app, out, say
from promolake.core.errors import BrokerAway, NumbersDiffer, SettingsError

if TYPE_CHECKING:
    from promolake.engine.bookkeeping import Kept
    from promolake.engine.comparing import Finding
    from promolake.engine.verifying import Verifier

_REMEDY = "`promolake rebuild TABLE` puts a silver or gold table in place anew, as bronze gives it; a ledger is never rewritten."


@app.command()
def verify(
    context: typer.Context,
    table: Annotated[list[str] | None, typer.Option(help="A table, with or without its layer; may be repeated. [default: all]")] = None,
    since: Annotated[
        str | None, typer.Option(help="Compare only windows and events at or after this ISO time (UTC unless it names an offset).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Check the ledger, recompute silver and gold from bronze, gold in plain SQL besides, and compare. No stream may be running.

    Everything is compared exactly, but for what SQL alone adds differently: averages and percentiles of doubles (a relative 1e-12), and
    sketches of distinct counts (three standard errors of one sketch). Exit code 7 when anything differs, 4 when a stream is running.
    """
    from promolake.engine.verifying import scope
    from promolake.hallway import HALLWAY

    settings = configuration.load(context.obj)
    chosen, start = scope(HALLWAY, table or ()), _instant(since)
    if not (settings.lake / "bronze").is_dir():
        raise SettingsError(f"The lake {settings.lake} holds no table yet.", "Fill it with `promolake run` or `promolake demo`.")
    with _verifier(settings) as verifier:
        found = list(verifier.verify(chosen, start, say))
    wrong = [finding for finding in found if finding.is_wrong]
    if as_json:
        rows = [asdict(finding) | {"result": _result(finding)} for finding in found]
        print(json.dumps({"agrees": not wrong, "checks": rows}, indent=1))
    else:
        out.print(_grid(found))
    if behind := {finding.subject for finding in found if finding.behind}:
        say(f"{', '.join(sorted(behind))}: what the stream held back or left out as late is settled by `promolake run --once`")
    if wrong:
        raise NumbersDiffer(f"{len(wrong)} of {len(found)} checks differ.", _REMEDY)


@contextmanager
def _verifier(settings: configuration.Settings) -> Iterator[Verifier]:
    """A verifier over the home's lake, which nobody else can write meanwhile. Ends Spark. Raises HomeInUse."""
    from promolake.engine.lakehouse import Lakehouse
    from promolake.engine.lateness import BOOKS
    from promolake.engine.lock import writing
    from promolake.engine.rebuilding import Rebuilder, Settler
    from promolake.engine.session import batch_session, session
    from promolake.engine.verifying import Verifier
    from promolake.hallway import HALLWAY

    tables = (*HALLWAY.tables, *BOOKS)
    with writing(settings.home, tables):
        spark = batch_session(session(settings, "promolake-verify", say))
        try:
            lake = Lakehouse(settings.lake, lambda: spark, settings.engine.spark_above_rows)
            lake.create(tables)  # a table that is not there is one without rows
            key = configuration.pseudonym_key(settings).get_secret_value().encode()
            settler = Settler(lake, settings.home / "state" / "settled.json")
            yield Verifier(HALLWAY, spark, lake, Rebuilder(HALLWAY, spark, lake, key, ()), settler, _kept(settings))
        finally:
            spark.stop()


def _kept(settings: configuration.Settings) -> Kept | None:
    """Asks the home's brokers about offsets nothing was read at; None when there is none to ask."""
    from promolake.cli.reporting import bootstrap_of
    from promolake.engine import kafka

    bootstrap = bootstrap_of(settings)

    def kept(topic: str, ranges: Iterable[tuple[int, int, int]]) -> set[tuple[int, int]] | None:
        try:
            return kafka.kept_records(bootstrap or "", topic, ranges)
        except BrokerAway:
            say(f"no broker answers: offsets of {topic} that nothing was read at count as holes, markers of transactions or not")
            return None

    return kept if bootstrap else None


def _instant(text: str | None) -> datetime | None:
    """Raises SettingsError when it is no ISO time."""
    if text is None:
        return None
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"--since {text} is no ISO time.", "Write it like 2026-11-11T00:00:00+08:00.") from None
    return given if given.tzinfo else given.replace(tzinfo=UTC)


def _result(finding: Finding) -> str:
    return "agrees" if finding.agrees else "not settled" if finding.behind else "DIFFERS"


def _grid(found: Sequence[Finding]) -> Grid:
    colours = {"agrees": "green", "not settled": "yellow", "DIFFERS": "red"}
    grid = Grid("check", "subject", "rows", "result", "of which", "example")
    for finding in found:
        result = _result(finding)
        differing = "" if finding.agrees else f"{finding.differing:,}"
        coloured = f"[{colours[result]}]{result}[/{colours[result]}]"
        grid.add_row(finding.check, finding.subject, f"{finding.rows:,}", coloured, differing, escape(finding.example))
    return grid
