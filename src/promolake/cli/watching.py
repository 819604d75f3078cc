"""The alerts of a run: what their rules may look at, and the dispatcher beside it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache

from promolake.alerts import relations
from promolake.core.table import Table
from promolake.engine.ledger import LEDGER
from promolake.hallway import HALLWAY
from promolake.local.processes import Child
from promolake.serving import catalog
from promolake.serving.dictionary import columns
from promolake.settings import Settings

RESTART_SECONDS = 2.0


@cache
def sources() -> Mapping[str, Table]:
    """The tables and views rules may look at, by name. A view only of other tables would never be asked: it is not among them."""
    watched = {table.name: table for table in (*(flow.table for flow in HALLWAY.metrics), LEDGER)}
    views = [
        relations.view(
            one.name,
            one.description,
            one.text,
            columns(one, HALLWAY.tables),
            (table for name, table in watched.items() if name in one.reads),
            (table for table in HALLWAY.tables if table.name in one.reads - watched.keys()),
        )
        for one in catalog.views().values()
        if one.reads & watched.keys()
    ]
    return watched | {view.name: view for view in views}


@contextmanager
def dispatching(settings: Settings) -> Iterator[None]:
    """While inside, a dispatcher of its own process runs, and is started again when it dies."""
    command = [sys.executable, "-m", "promolake.cli", "--home", str(settings.home), "alerts", "dispatch"]
    over = threading.Event()
    (settings.home / "log").mkdir(parents=True, exist_ok=True)

    def keep() -> None:  # in a thread that lives as long as the child: the kernel ties it to this one
        while not over.is_set():
            child = Child(command, settings.home / "log" / "alerts.log", tied=True)
            while not over.wait(RESTART_SECONDS) and child.exit_code is None:
                pass
            child.stop()

    keeper = threading.Thread(target=keep, name="dispatcher-keeper", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join(timeout=30)
