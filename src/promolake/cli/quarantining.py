"""What is in quarantine, and letting it out again: quarantine list, show, replay."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table as Grid

from promolake import settings as configuration
from promolake.cli import app, out, say
from promolake.core.errors import SettingsError
from promolake.engine.lakehouse import Lakehouse
from promolake.hallway import HALLWAY
from promolake.local.reaching import reachable

quarantine = typer.Typer(help="Records that break a rule: see them, and let them out once the rule is mended.", no_args_is_help=True)
app.add_typer(quarantine, name="quarantine")

Rules = Annotated[list[str] | None, typer.Option("--rule", help="Only rows that break this rule; may be repeated.")]
_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]
Since = Annotated[datetime | None, typer.Option(help="Only rows taken in at or after this time, UTC.", formats=_TIMES)]
AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]


@quarantine.command("list")
def listed(context: typer.Context, rule: Rules = None, since: Since = None, as_json: AsJson = False) -> None:
    """Count what is in quarantine by topic and rule. A row that breaks two rules counts under both."""
    found: Counter[tuple[str, str]] = Counter()
    for row in _rows(context, rule, since, ("topic", "violations", "ingested_at")):
        found.update((row["topic"], name) for name in row["violations"])
    entries = [{"topic": topic, "rule": name, "rows": count} for (topic, name), count in sorted(found.items())]
    if as_json:
        print(json.dumps(entries, indent=1))
        return
    grid = Grid("topic", "rule", "rows")
    for entry in entries:
        grid.add_row(entry["topic"], entry["rule"], f"{entry['rows']:,}")
    out.print(grid if entries else "The quarantine is empty.")


@quarantine.command()
def show(
    context: typer.Context,
    rule: Rules = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many rows.")] = 20,
    raw: Annotated[bool, typer.Option("--raw", help="With the payload as it came: it may hold personal data in clear.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show quarantined rows: where they stand in Kafka, every rule they break, and with --raw the payload itself."""
    columns = ("topic", "partition", "offset", "violations", "value", "ingested_at")
    rows = sorted(_rows(context, rule, since, columns), key=lambda row: (row["topic"], row["partition"], row["offset"]))[:limit]
    for row in rows:
        value = row.pop("value")
        row["bytes"] = None if value is None else len(value)
        row["ingested_at"] = row["ingested_at"].isoformat()
        if raw:
            row["payload"] = None if value is None else value.decode("utf-8", "backslashreplace")
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    grid = Grid("topic", "partition", "offset", "breaks", "bytes", *(["payload"] if raw else []))
    for row in rows:
        cells = [row["topic"], str(row["partition"]), str(row["offset"]), ", ".join(row["violations"]), str(row["bytes"])]
        grid.add_row(*cells, *([escape(ascii(row["payload"]))] if raw else []))
    out.print(grid if rows else "No such row is in quarantine.")


@quarantine.command()
def replay(
    context: typer.Context,
    rule: Rules = None,
    since: Since = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would pass now.")] = False,
    query: Annotated[str, typer.Option(help="The query of conf/promolake.yaml that feeds the tables.")] = "main",
    as_json: AsJson = False,
) -> None:
    """Put quarantined rows through again, once: what passes now goes into silver and gold, and the ledger is corrected.

    No stream may be running. An interrupted replay is finished by the next one.
    """
    from promolake.cli.jobs import flows_of
    from promolake.engine.lock import writing
    from promolake.engine.runner import Runner
    from promolake.engine.session import session

    settings = configuration.load(context.obj)
    flows = flows_of(settings, query)
    configuration.writable_home(settings)
    with writing(settings.home, flows.tables):
        pass  # a running stream refuses it before anything is started
    with reachable(settings, say) as bootstrap:
        runner = Runner(settings, bootstrap, session(settings, "promolake-quarantine", say), flows, query, say)
        try:
            outcomes = runner.readmit(rule or [], since, dry_run)
        finally:
            runner.close()
    if as_json:
        print(json.dumps([asdict(one) | {"kept": one.kept} for one in outcomes], indent=1))
        return
    grid = Grid("quarantine", "looked at", "would pass" if dry_run else "passed", "duplicate", "kept")
    for one in outcomes:
        grid.add_row(one.quarantine, *(f"{n:,}" for n in (one.looked_at, one.passed, one.duplicate, one.kept)))
    out.print(grid if outcomes else "No such row is in quarantine.")


def _rows(context: typer.Context, rules: list[str] | None, since: datetime | None, columns: tuple[str, ...]) -> list[dict]:
    lake = Lakehouse(configuration.load(context.obj).lake)
    tables = [flow.quarantine for flow in HALLWAY.ingests if lake.exists(flow.quarantine)]
    if not tables:
        raise SettingsError(f"The lake {lake.root} holds no quarantine yet.", "Fill it with `promolake run` or `promolake demo`.")
    where = f"ingested_at >= '{since.isoformat()}+00:00'" if since else ""
    rows = [row for table in tables for row in lake.read(table, columns, where).to_pylist()]
    return [row for row in rows if not rules or set(rules) & set(row["violations"])]
