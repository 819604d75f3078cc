"""What only looks: sql, status, check. None of them starts a JVM."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table as Grid

from promolake import settings as configuration
from promolake.cli import app, out
from promolake.core.errors import EnvironmentProblem

if TYPE_CHECKING:
    from promolake.serving.sql import Reader


class Format(StrEnum):
    table = "table"
    csv = "csv"
    json = "json"


@app.command()
def sql(
    context: typer.Context,
    statement: Annotated[
        str | None,
        typer.Argument(help='One SELECT over gold, ops and silver, e.g. "SELECT * FROM gold.top_products". [default: a shell]'),
    ] = None,
    format: Annotated[Format, typer.Option(help="How to print the rows.")] = Format.table,
) -> None:
    """Query the tables and views with SQL: read only, without Spark, names as in Spark. Without a statement: a shell, or what is piped."""
    from promolake.serving.formats import formatted
    from promolake.serving.sql import Reader

    settings = configuration.load(context.obj)
    with Reader(settings.lake) as reader:
        if statement is None:
            _shell(reader, settings, format)
        else:
            print(formatted(reader.query(statement), format.value))


def _shell(reader: Reader, settings: configuration.Settings, format: Format) -> None:
    from promolake.cli.tables import the_dictionary
    from promolake.serving.console import Console
    from promolake.serving.shell import interactive, piped

    console = Console(reader, the_dictionary(), format.value)
    if sys.stdin.isatty():
        history = configuration.writable_home(settings) / "sql_history"
        interactive(console, history, sys.stdout.write, sys.stderr.write)
    else:
        piped(console, sys.stdin, sys.stdout.write)


@app.command()
def status(context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False) -> None:
    """Show what every topic's records became, how far behind the flows are, and how fresh gold is."""
    from promolake.cli.reporting import report

    found = report(configuration.load(context.obj))
    if as_json:
        print(json.dumps(asdict(found), default=str, indent=1))
        return
    running = ", ".join(f"{query} (pid {pid})" for query, pid in found.running.items()) or "nothing"
    broker = found.bootstrap or "none answers"
    out.print(f"home {found.home}\nrunning {running}\nbroker {broker}")
    topics = Grid("topic", *(("lag", "read", "valid", "quarantined", "duplicate")), title="topics", title_justify="left")
    for topic in found.topics:
        figures = (topic.lag, topic.read, topic.valid, topic.quarantined, topic.duplicate)
        topics.add_row(topic.topic, *("?" if n is None else f"{n:,}" for n in figures))
    gold = Grid("table", "rows", "newest", title="gold", title_justify="left")
    for table in found.gold:
        gold.add_row(table.table, f"{table.rows:,}", "" if table.newest is None else f"{table.newest:%Y-%m-%d %H:%M:%S}Z")
    forwards = Grid("topic", "audited", "sent by the lane", "by micro-batches", title="forwarded", title_justify="left")
    for forward in found.forwards:
        forwards.add_row(forward.topic, *(f"{n:,}" for n in (forward.audited, forward.by_lane, forward.by_micro_batch)))
    out.print(topics, forwards, gold)


@app.command()
def check(context: typer.Context) -> None:
    """Check settings, mappings, contracts, versions, Java, the home and ports; name each problem with its remedy."""
    from promolake.cli.checking import problems

    found, passed = problems(context.obj)
    for line in passed:
        out.print(f"[green]ok[/green]  {line}", soft_wrap=True)
    for problem in found:
        out.print(f"[red]no[/red]  {problem}", soft_wrap=True)
    if found:
        raise typer.Exit(EnvironmentProblem.exit_code)
