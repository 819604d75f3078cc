"""JDBC and ODBC for BI tools: `sql-server`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from promolake import settings as configuration
from promolake.cli import app, out, say
from promolake.core.errors import FlowFailed, SettingsError

_HERE = ("127.0.0.1", "localhost")
_LOOK_SECONDS = 1.0


@app.command("sql-server")
def sql_server(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.", min=1, max=65535)] = 10000,
    without_password: Annotated[
        bool, typer.Option("--without-password", help="Listen elsewhere than on 127.0.0.1: whoever reaches the port can ask.")
    ] = False,
) -> None:
    """Answer JDBC and ODBC over gold and ops with Spark's own Thrift server: queries only, until Ctrl-C or SIGTERM."""
    if host not in _HERE and not without_password:
        raise SettingsError(
            f"Spark's Thrift server asks nobody for a password: on {host} whoever reaches the port could read gold and ops.",
            "Leave it on 127.0.0.1 and reach it through ssh -L, or decide with --without-password.",
        )
    from promolake.engine.read_only import hide_environment, only_asking
    from promolake.engine.session import ended, session
    from promolake.engine.thrift import options, thrift_server
    from promolake.serving import catalog
    from promolake.serving.registration import registered

    settings = configuration.load(context.obj)
    if not catalog.tables(settings.lake):
        raise SettingsError(f"The lake {settings.lake} holds no table yet.", "Fill it with `promolake run` or `promolake demo`.")
    listening = options(host, port, settings.sql_server.query_seconds)
    hide_environment()
    spark = session(settings, "promolake-sql-server", say, listening)
    try:
        names = registered(spark, settings.lake, layers=("gold", "ops"))
        only_asking(spark)
        with thrift_server(spark, settings.home / "log" / "derby.log") as runs:
            _answer(f"jdbc:hive2://{host}:{port}/gold", names, runs, settings.home / "log" / "spark.log")
    finally:
        ended(spark)
    say("stopped")


def _answer(url: str, names: list[str], runs: Callable[[], bool], log: Path) -> None:
    """Says where to ask, and returns when told to stop."""
    from promolake.engine.signals import stopped_by_signals

    stop = threading.Event()
    with stopped_by_signals(stop.set):  # not before Spark has started: it takes Ctrl-C for itself
        out.print(f"{len(names)} tables and views: {', '.join(names)}", soft_wrap=True)
        out.print(f"{url} (any user, no password)", soft_wrap=True)
        out.print(f"try it: beeline -u {url} -n me -e 'SHOW TABLES'", soft_wrap=True)
        while not stop.wait(_LOOK_SECONDS):
            if not runs():
                raise FlowFailed("The Thrift server has ended.", f"See {log}.")
