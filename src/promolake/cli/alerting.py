"""Alerts: what fired, who was told, silences, a test message, and the dispatcher itself."""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table as Grid

from promolake import settings as configuration
from promolake.alerts import rules
from promolake.alerts.dispatcher import Dispatcher
from promolake.alerts.message import Message, Refused, TryLater
from promolake.alerts.outbox import Outbox, outbox_file
from promolake.alerts.silences import Silences
from promolake.alerts.tables import ALERTS, STATES
from promolake.cli import app, out, say
from promolake.cli.silencing import silenced, unsilenced
from promolake.core.errors import EnvironmentProblem, HomeInUse, PromolakeError, SettingsError
from promolake.core.table import Table
from promolake.engine.lakehouse import Lakehouse
from promolake.engine.lock import held
from promolake.engine.signals import stopped_by_signals

alerts = typer.Typer(help="Alerts: what fired, who was told, silences, back-tests.", no_args_is_help=True)
app.add_typer(alerts, name="alerts")
AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]
LOOKS_AGAIN_SECONDS = 2.0


@alerts.command()
def dispatch(context: typer.Context) -> None:
    """Deliver alerts until stopped. A run starts one of its own; by itself it finishes what a stopped run left in the outbox."""
    settings = configuration.load(context.obj)
    configuration.writable_home(settings)
    lake = Lakehouse(settings.lake)

    seen = [-1]

    def feed(since: datetime | None) -> list[dict[str, Any]]:
        if not lake.exists(ALERTS) or (version := lake.version(ALERTS)) == seen[0]:
            return []
        where = f"ingested_at >= '{since.isoformat()}'" if since else ""
        found = lake.read(ALERTS, ALERTS.column_names, where).sort_by("ingested_at").to_pylist()
        seen[0] = version
        return found

    with _first(settings.home):
        dispatcher = Dispatcher(settings.home, settings.alerts_file, feed, say)
        with stopped_by_signals(dispatcher.stop):
            dispatcher.run()


@contextmanager
def _first(home: Path) -> Iterator[None]:
    """The right to deliver the alerts of a home: of several dispatchers (each run starts one) one delivers, the others stand by."""
    file, said = home / "state" / "dispatcher.lock", False
    with ExitStack() as right:
        while True:
            try:
                right.enter_context(held(file, f"delivers the alerts of {home}"))
                break
            except HomeInUse as busy:
                if not said:
                    say(f"{busy.what} This one stands by.")
                said = True
                time.sleep(LOOKS_AGAIN_SECONDS)
        yield


@alerts.command("list")
def listed(context: typer.Context, as_json: AsJson = False) -> None:
    """What fires or is pending now."""
    found = [row for row in _rows(context, STATES) if row["status"] in ("firing", "pending")]
    found.sort(key=lambda row: (row["status"], row["alert"], row["labels"]))
    if as_json:
        print(json.dumps(found, indent=1, default=_iso))
        return
    grid = Grid("status", "alert", "labels", "since (UTC)", "value")
    for row in found:
        value = "" if row["value"] is None else f"{row['value']:,.6g}"
        grid.add_row(row["status"], row["alert"], escape(", ".join(json.loads(row["labels"]))), f"{row['since']:%F %H:%M}", value)
    out.print(grid if found else "Nothing fires.")


@alerts.command()
def history(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the latest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """What has fired and was resolved, each with the SQL that shows the rows behind it."""
    found = sorted(_rows(context, ALERTS), key=lambda row: (row["ingested_at"], row["alert_id"]), reverse=True)[:limit]
    if as_json:
        print(json.dumps(found, indent=1, default=_iso))
        return
    for row in found:
        said = json.loads(row["annotations"]).get("summary", row["alert"])
        out.print(f"{row['starts_at']:%F %H:%M} {row['status']:8} {escape(said)}", soft_wrap=True)
        out.print(f"  [dim]{escape(row['rows_sql'])}[/dim]", soft_wrap=True)
    if not found:
        out.print("Nothing has fired yet.")


@alerts.command()
def deliveries(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="At most so many tries, the latest first.")] = 20,
    retry: Annotated[bool, typer.Option("--retry-dead", help="Try dead letters again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Who was told: notifications per channel, and the latest tries."""
    settings = configuration.load(context.obj)
    outbox = Outbox(outbox_file(settings.home))
    revived = outbox.revive() if retry else 0
    tries, counts = outbox.history(limit), outbox.counts()
    outbox.close()
    if as_json:
        print(json.dumps({"channels": counts, "tries": tries}, indent=1))
        return
    if retry:
        out.print(f"{revived} dead letters are due again.")
    states = ("due", "delivered", "merged", "dead")
    grid = Grid("channel", *states)
    for channel, found in counts.items():
        grid.add_row(channel, *(f"{found.get(state, 0):,}" for state in states))
    out.print(grid)
    for row in tries:
        at = datetime.fromtimestamp(row["at"], UTC)
        out.print(f"{at:%F %T} {row['channel']:10} {row['outcome']:9} {row['notification_id']} {escape(row['detail'])}", soft_wrap=True)


@alerts.command()
def silence(
    context: typer.Context,
    matcher: Annotated[list[str], typer.Argument(help="alertname=IpFlood, team!=ops, ip=~10[.].*; all must match.")],
    length: Annotated[str, typer.Option("--for", help="How long: 30m, 2h, 1d.")] = "1h",
    comment: Annotated[str, typer.Option(help="Why.")] = "",
    by: Annotated[str, typer.Option(help="Who. [default: your login]")] = "",
) -> None:
    """Hold back alerts for a while. What is over by then is told to nobody; what still fires is told afterwards."""
    made = silenced(configuration.load(context.obj).home, matcher, length, comment, by or getpass.getuser())
    out.print(f"silence {made.id} until {made.ends_at:%F %T} UTC; end it with: promolake alerts unsilence {made.id}")


@alerts.command()
def silences(context: typer.Context, as_json: AsJson = False) -> None:
    """The silences that hold or will hold."""
    now = datetime.now(UTC)
    found = [one for one in Silences(configuration.load(context.obj).home).all() if one.ends_at > now]
    if as_json:
        print(json.dumps([json.loads(one.model_dump_json()) for one in found], indent=1))
        return
    grid = Grid("id", "matchers", "until (UTC)", "by", "why")
    for one in found:
        words = ", ".join(f"{m.label}{m.operator}{m.text}" for m in one.matchers)
        grid.add_row(one.id, escape(words), f"{one.ends_at:%F %T}", escape(one.created_by), escape(one.comment))
    out.print(grid if found else "Nothing is silenced.")


@alerts.command()
def unsilence(context: typer.Context, silence_id: str) -> None:
    """End a silence now."""
    unsilenced(configuration.load(context.obj).home, silence_id)
    out.print("ended")


@alerts.command("send-test")
def send_test(context: typer.Context, channel: Annotated[str, typer.Argument(help="A channel's name in conf/alerts.yaml.")]) -> None:
    """Send one test message through a channel and say what became of it."""
    from promolake.alerts.message import Transition

    settings = configuration.load(context.obj)
    file = rules.load(settings.alerts_file)
    known = {one.name: one for receiver in file.receivers for one in receiver.channels}
    if channel not in known:
        raise SettingsError(f"There is no channel {channel}.", f"Channels in {settings.alerts_file}: {', '.join(known)}.")
    now = datetime.now(UTC).replace(microsecond=0)
    words = {"summary": "a test message from promolake", "description": "Nothing has happened."}
    one = Transition("test", "test", "firing", {"alertname": "Test"}, words, 1.0, now, now + timedelta(seconds=1), "SELECT 1")
    message = Message(f"test-{int(now.timestamp())}", "test", {"alertname": "Test"}, (one,))
    try:
        known[channel].at_home(settings.home).send(message)
    except Refused as error:
        raise PromolakeError(f"{channel} refused the message: {error}.", "Correct its settings.") from None
    except TryLater as error:
        raise EnvironmentProblem(f"{channel} could not take the message: {error}.", "Try again, or see whether it is reachable.") from None
    out.print(f"{channel} took the message {message.id}")


def _rows(context: typer.Context, table: Table) -> list[dict[str, Any]]:
    lake = Lakehouse(configuration.load(context.obj).lake)
    return lake.read(table, table.column_names).to_pylist() if lake.exists(table) else []


def _iso(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
