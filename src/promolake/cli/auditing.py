"""The quality audit: every table against its contract, tables against each other, written to ops.audits and to pages to open."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table as Grid

from promolake import settings as configuration
from promolake.cli import app, out, say
from promolake.core.errors import NumbersDiffer

if TYPE_CHECKING:
    from promolake.quality.audit import Audit


@app.command()
def audit(
    context: typer.Context,
    table: Annotated[list[str] | None, typer.Option(help="A silver or gold table; may be repeated. [default: all there are]")] = None,
    max_age: Annotated[
        float | None, typer.Option(min=0, metavar="MINUTES", help="Silver must have taken in a row within so many minutes.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Audit silver and gold against their contracts and each other; ends with 7 if a critical expectation is broken.

    It may run beside a stream. Results are added to ops.audits; pages to open are written to audits/docs in the home.
    """
    from promolake.cli.snapshots import audited, chosen, page
    from promolake.engine.lakehouse import Lakehouse
    from promolake.engine.session import scan_session, session

    settings = configuration.load(context.obj)
    configuration.writable_home(settings)
    chosen(Lakehouse(settings.lake), table or ())  # a wrong name is refused before Spark starts
    began = datetime.now(UTC)
    spark = session(settings, "promolake-audit", say)
    try:
        found = audited(settings, scan_session(spark), table or (), began, max_age, say)
    finally:
        spark.stop()
    report(found, page(settings.home), as_json)
    broken = [one for one in found.findings if one.is_failure]
    if broken:
        tables = ", ".join(sorted({one.table_name for one in broken}))
        raise NumbersDiffer(f"{len(broken)} critical expectations are broken, in {tables}.", "See ops.audits.")


def report(found: Audit, page: Path, as_json: bool) -> None:
    """Prints what was found: for a person what is broken, for a machine everything."""
    from promolake.quality.audit import ages_said, not_audited

    broken = [one for one in found.findings if not one.is_success]
    if as_json:
        said = {"findings": [asdict(one) for one in found.findings], "skipped": found.skipped, "minutes_old": found.ages}
        print(json.dumps(said | {"page": str(page)}, indent=1))
        return
    if broken:
        grid = Grid(title="broken", title_justify="left")
        for heading in ("severity", "table", "expectation", "columns", "broken by"):
            grid.add_column(heading, overflow="fold")
        for one in broken:
            colour = "red" if one.is_failure else "yellow"
            grid.add_row(f"[{colour}]{one.severity}[/{colour}]", one.table_name, one.expectation, one.column_names, one.details)
        out.print(grid)
    for table, names in found.skipped.items():
        out.print(f"[dim]{not_audited(table, names)}[/dim]", soft_wrap=True)
    out.print(ages_said(found.ages), soft_wrap=True)
    tables = {one.table_name for one in found.findings}
    kept, failures = len(found.findings) - len(broken), sum(one.is_failure for one in broken)
    out.print(f"{kept} of {len(found.findings)} expectations over {len(tables)} tables kept; {failures} critical and "
              f"{len(broken) - failures} warnings.", soft_wrap=True)  # fmt: skip
    out.print(f"pages: {page}", soft_wrap=True)
