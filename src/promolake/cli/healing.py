"""What keeps a home sound: doctor, maintain. None of them starts a JVM."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from promolake import settings as configuration
from promolake.cli import app, out, say
from promolake.core.errors import DamageFound, SettingsError


@app.command()
def doctor(
    context: typer.Context,
    mend: Annotated[bool, typer.Option("--mend", help="Undo the damages that can be undone without losing or repeating a row.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Look for damaged checkpoints, tables and alerts, the silent damages too; each with how bad it is and its remedy.

    What --mend takes away is kept under doctor/ in the home. Exit code 8: there is damage that is not mended.
    """
    from promolake.alerts.outbox import outbox_file
    from promolake.alerts.tables import ALERTS, STATES
    from promolake.engine.doctor import Doctor
    from promolake.engine.doctor_alerts import AlertsKept
    from promolake.engine.finding import Harm
    from promolake.hallway import HALLWAY

    settings = configuration.load(context.obj)
    examined = Doctor(settings.home, settings.lake, HALLWAY, AlertsKept(ALERTS, STATES, outbox_file(settings.home)))
    undone, kept = [], None
    if mend:
        result = examined.mend(say)
        undone, found, kept = result.undone, result.left, result.backup
    else:
        found = examined.findings()
    if as_json:
        answer = {"findings": [one.as_dict() for one in found], "mended": [one.as_dict() for one in undone]}
        print(json.dumps(answer | {"kept": str(kept) if kept else None}, indent=1))
    else:
        for one in undone:
            out.print(f"[green]mended[/green]  {one.where}: {one.what} {one.remedy}", soft_wrap=True)
        for one in found:
            can = " `promolake doctor --mend` does it." if one.mend and not mend else ""
            colour = {Harm.SILENT: "red", Harm.LOUD: "yellow"}.get(one.harm, "dim")
            out.print(f"[{colour}]{one.harm}[/{colour}]  {one.where}: {one.what} {one.remedy}{can}", soft_wrap=True)
        if kept:
            out.print(f"What was taken away is in {kept}.", soft_wrap=True)
        if not found and not undone:
            out.print("[green]healthy[/green]")
    if any(one.harm is not Harm.NONE for one in found):
        raise typer.Exit(DamageFound.exit_code)


@app.command()
def maintain(
    context: typer.Context,
    tables: Annotated[list[str] | None, typer.Argument(help="Tables, e.g. gold.gmv_per_minute; all by default.")] = None,
) -> None:
    """Put small files together, sum up logs, remove what nobody needs, once. A running job does it by itself; none may be running."""
    from promolake.alerts.tables import ALERTS, STATES
    from promolake.engine.lakehouse import Lakehouse
    from promolake.engine.lateness import BOOKS
    from promolake.engine.lock import writing
    from promolake.engine.maintenance import Maintenance
    from promolake.hallway import HALLWAY

    settings = configuration.load(context.obj)
    known = {table.name: table for table in (*HALLWAY.tables, *BOOKS, ALERTS, STATES)}
    if unknown := [name for name in tables or () if name not in known]:
        raise SettingsError(f"There is no table {unknown[0]}.", f"Tables: {', '.join(known)}.")
    lake = Lakehouse(settings.lake)
    chosen = [known[name] for name in tables or known if lake.exists(known[name])]
    with writing(settings.home, chosen):
        Maintenance(lake, chosen, settings.maintenance, say).round()
    out.print(f"{len(chosen)} tables maintained.")
