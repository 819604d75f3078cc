"""The Spark jobs: run and rebuild."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Annotated

import typer

from promolake import settings as configuration
from promolake.cli import app, out, say
from promolake.core.errors import SettingsError
from promolake.core.flow import Hallway
from promolake.local.reaching import reachable


@app.command()
def run(
    context: typer.Context,
    only: Annotated[
        list[str] | None, typer.Option(help="A flow by its table's name, `*` allowed; may be repeated. What it needs comes along.")
    ] = None,
    query: Annotated[str, typer.Option(help="The query of conf/promolake.yaml to run; also the name of its checkpoint.")] = "main",
    once: Annotated[bool, typer.Option("--once", help="Take all there is, make gold exact, stop; no alerts.")] = False,
) -> None:
    """Carry the topics through bronze, silver and gold, until stopped (Ctrl-C or SIGTERM: the batch in hand is finished)."""
    from promolake.alerts.watch import AlertWatch
    from promolake.cli.advancing import advancing, waiting
    from promolake.cli.lineage import jobs_of
    from promolake.cli.telling import telling
    from promolake.cli.watching import dispatching, sources
    from promolake.engine.lane import standing_tasks
    from promolake.engine.lock import writing
    from promolake.engine.runner import Runner
    from promolake.engine.session import BRIEF, session
    from promolake.engine.signals import stopped_by_signals

    settings = configuration.load(context.obj)
    flows = flows_of(settings, query, only)
    configuration.writable_home(settings)
    with writing(settings.home, flows.tables):
        pass  # a second process is refused before anything is started for it
    watching = settings.alerts_on and bool(flows.ingests) and not once
    watchers = [AlertWatch(settings.alerts_file, sources(), watched(settings, query, flows), say)] if watching else []
    with reachable(settings, say) as bootstrap, dispatching(settings) if watching else nullcontext():
        topics = [flow.topic.name for flow in flows.ingests] if once else []
        records = waiting(settings.checkpoint(query), bootstrap, topics) if topics else None
        has_lane = settings.errors.has_lane and not once
        standing = standing_tasks(flows, bootstrap, settings.kafka.partitions) if has_lane else 0
        spark = session(settings, f"promolake-{query}", say, standing_tasks=standing, brief=records is not None and records < BRIEF)
        runner = Runner(settings, bootstrap, spark, flows, query, say, watchers)
        jobs = jobs_of(flows, query, settings.lake, bootstrap, once)
        progress = advancing(settings.checkpoint(query), bootstrap, topics, say) if topics else nullcontext()
        with stopped_by_signals(runner.stop), telling(settings.lineage.to, jobs, say, settings.lineage_marks), progress:
            try:
                runner.run(once)
            finally:
                runner.close()
                for watcher in watchers:
                    watcher.close()
    say("stopped")


@app.command()
def rebuild(
    context: typer.Context,
    tables: Annotated[list[str], typer.Argument(help="silver or gold tables; `all` for every one.")],
) -> None:
    """Recompute tables in batch from bronze, with the functions the stream uses, and put them in place. No stream may be running."""
    from promolake.cli.lineage import jobs_of_rebuild
    from promolake.cli.telling import telling
    from promolake.engine.lakehouse import Lakehouse
    from promolake.engine.lateness import BOOKS
    from promolake.engine.lock import writing
    from promolake.engine.query_log import scan_names
    from promolake.engine.rebuilding import Rebuilder
    from promolake.engine.session import scan_session, session
    from promolake.engine.stopped import StoppedTables
    from promolake.hallway import HALLWAY

    settings = configuration.load(context.obj)
    configuration.writable_home(settings)
    names = [flow.table.name for flow in (*HALLWAY.ingests, *HALLWAY.metrics, *HALLWAY.joins)] if tables == ["all"] else tables
    spark = scan_session(session(settings, "promolake-rebuild", say))
    jobs = jobs_of_rebuild(HALLWAY, names, settings.lake)
    with writing(settings.home, [*HALLWAY.tables, *BOOKS]), telling(settings.lineage.to, jobs, say, settings.lineage_marks):
        key = configuration.pseudonym_key(settings).get_secret_value().encode()
        lake = Lakehouse(settings.lake, lambda: spark, settings.engine.spark_above_rows)
        lake.create(HALLWAY.tables)
        Rebuilder(HALLWAY, spark, lake, key, scan_names(settings.home)).rebuild(names, say)
        StoppedTables(settings.home).clear(name if "." in name else f"gold.{name}" for name in names)
    spark.stop()
    out.print(f"{len(names)} tables rebuilt.")


def watched(settings: configuration.Settings, query: str, flows: Hallway) -> set[str]:
    """The tables whose alerts this process sees to: those it writes, and of what all queries write (the ledger) only one of them."""
    from promolake.engine.ledger import LEDGER

    keepers = [name for name in sorted(settings.queries) if flows_of(settings, name).ingests]
    return {metric.table.name for metric in flows.metrics} | ({LEDGER.name} if keepers[:1] in ([query], []) else set())


def flows_of(settings: configuration.Settings, query: str, only: Sequence[str] | None = None) -> Hallway:
    """The flows of a query of conf/promolake.yaml, or those named in `only`. Raises SettingsError for a name that is none."""
    from promolake.engine.runner import chosen
    from promolake.hallway import HALLWAY

    if not only and query not in settings.queries:
        raise SettingsError(f"There is no query {query}.", f"Queries in conf/promolake.yaml: {', '.join(settings.queries)}.")
    names = only or settings.queries[query]
    return chosen(HALLWAY, () if tuple(names) == ("*",) else names)
