"""What fills the topics: the embedded broker, the simulator, the replay of real files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from promolake import settings as configuration
from promolake.cli import app, local, out, say
from promolake.core.errors import SettingsError
from promolake.local.broker import Broker
from promolake.local.reaching import reachable


@local.command()
def up(context: typer.Context) -> None:
    """Start the broker; it goes on until `local down`."""
    settings = configuration.load(context.obj)
    configuration.writable_home(settings)
    broker = Broker(settings.home)
    started = broker.start(say)
    status = broker.status()
    out.print(f"{'started' if started else 'already running'}: {status.bootstrap} (pid {status.pid})" if status else "ended at once")


@local.command()
def down(context: typer.Context) -> None:
    """Stop the broker of this home; what it holds stays."""
    stopped = Broker(configuration.load(context.obj).home).stop()
    out.print("stopped" if stopped else "was not running")


@local.command("status")
def local_status(context: typer.Context) -> None:
    """Tell whether the broker runs. Exit code 1 when it does not."""
    status = Broker(configuration.load(context.obj).home).status()
    if status is None:
        out.print("not running")
        raise typer.Exit(1)
    out.print(f"{status.bootstrap}  pid {status.pid}  up {status.uptime_s:.0f} s  {status.data_bytes / 1e6:.1f} MB")


@app.command()
def simulate(
    context: typer.Context,
    rate: Annotated[float, typer.Option(help="Messages a second.", min=0.1)] = 1000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same promotion day.")] = 11,
    seconds: Annotated[float | None, typer.Option(help="How long. [default: until Ctrl-C]")] = None,
    count: Annotated[int | None, typer.Option(help="How many messages.")] = None,
    report: Annotated[Path | None, typer.Option(help="Where the truth of what was sent goes. [default: HOME/simulation.json]")] = None,
    trouble: Annotated[bool, typer.Option(help="With duplicates, late rows and malformed messages.")] = True,
) -> None:
    """Send a seeded promotion day into the topics, and keep the books of what gold must hold."""
    from promolake.engine import kafka
    from promolake.producers.simulator import simulate as send
    from promolake.sources import TOPICS

    settings = configuration.load(context.obj)
    configuration.writable_home(settings)
    with reachable(settings, say) as bootstrap:
        kafka.wait_for_broker(bootstrap, settings.kafka.patience_seconds, say)
        kafka.ensure_topics(bootstrap, [topic.name for topic in TOPICS], settings.kafka.partitions)
        send(bootstrap, rate, report or settings.home / "simulation.json", seed, seconds, count, trouble, say)


@app.command()
def replay(
    context: typer.Context,
    source: Annotated[str, typer.Argument(help="The topic the files go to, e.g. shop.orders.")],
    files: Annotated[list[Path], typer.Argument(help="Files, plain or gzipped.")],
    mapping: Annotated[str, typer.Option("--map", help="A mapping of conf/replay by name, or the path of one.")],
    rate: Annotated[float | None, typer.Option(help="Rows a second at most. [default: as fast as the broker takes them]")] = None,
) -> None:
    """Send real files into a topic by a mapping. Doing it twice changes nothing in gold: a row's id is its file and line."""
    from promolake.engine import kafka
    from promolake.producers.mapping import mapping as load_mapping
    from promolake.producers.replay import check
    from promolake.producers.replay import replay as send

    settings = configuration.load(context.obj)
    chosen = load_mapping(mapping, configuration.conf_directory() / "replay")
    if chosen.topic != source:
        raise SettingsError(f"The mapping {mapping} is for {chosen.topic}, not for {source}.", f"Say `replay {chosen.topic} ...`.")
    check(files, chosen)  # a slip in a name is told at once, not when a broker has answered
    configuration.writable_home(settings)
    with reachable(settings, say) as bootstrap:
        kafka.wait_for_broker(bootstrap, settings.kafka.patience_seconds, say)
        kafka.ensure_topics(bootstrap, [source], settings.kafka.partitions)
        report = send(files, chosen, bootstrap, rate, say)
    for line in report.listed:
        say(line)
    out.print(report.summary, soft_wrap=True)
