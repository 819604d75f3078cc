"""What `promolake check` looks at: every problem as one sentence with its remedy."""

from __future__ import annotations

import socket
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from promolake import settings as configuration
from promolake.core.errors import EnvironmentProblem, PromolakeError

# Versions that were tried together; others fail late and oddly (ecosystem: delta-spark 4.4.1 has no jars, pandas 3 breaks PySpark 4.2).
PINNED = {"pyspark": "4.2.0", "delta-spark": "4.4.0", "deltalake": "1.6.6", "kafka-python": "3.0.12"}


def problems(home: Path | None) -> tuple[list[str], list[str]]:
    """Runs every check; returns the problems and what passed."""
    found: list[str] = []
    passed: list[str] = []

    def tried(check: Callable[[], str]) -> None:
        try:
            passed.append(check())
        except PromolakeError as problem:
            found.append(str(problem))

    tried(lambda: _settings(home))
    for mapping in sorted((configuration.conf_directory() / "replay").glob("*.yaml")):
        tried(lambda mapping=mapping: _mapping(mapping))
    tried(lambda: _alerts(home))
    for check in (_contracts, _versions, _java, _ports):
        tried(check)
    return found, passed


def _settings(home: Path | None) -> str:
    settings = configuration.load(home)
    configuration.writable_home(settings)
    configuration.pseudonym_key(settings)
    return f"settings, home {settings.home}"


def _mapping(file: Path) -> str:
    from promolake.producers.mapping import mapping

    return f"mapping {file.stem} -> {mapping(str(file)).topic}"


def _alerts(home: Path | None) -> str:
    from promolake.alerts import rules
    from promolake.alerts.watch import check
    from promolake.cli.watching import sources

    settings = configuration.load(home)
    if not settings.alerts_on:
        return "alerts are off"
    path = settings.alerts_file
    file = rules.load(path)
    check(file, sources(), path)
    channels = [channel.name for receiver in file.receivers for channel in receiver.channels]
    return f"{len(file.rules)} alert rules, channels {', '.join(channels)}"


def _contracts() -> str:
    from promolake.hallway import HALLWAY

    names = [table.name for table in HALLWAY.tables]
    for table in HALLWAY.tables:
        if strange := {*table.grain, *table.stats} - {*table.column_names}:
            raise EnvironmentProblem(f"{table.name}: {', '.join(sorted(strange))} in its grain or stats is no column.", "Mend its TABLE.")
    if len(set(names)) != len(names):
        raise EnvironmentProblem("Two flows write the same table.", "Mend hallway.py.")
    return f"contracts of {len(HALLWAY.ingests)} topics and {len(names)} tables"


def _versions() -> str:
    for package, wanted in PINNED.items():
        try:
            installed = metadata.version(package)
        except metadata.PackageNotFoundError:
            installed = "not installed"
        if installed != wanted:
            raise EnvironmentProblem(f"{package} is {installed}, not {wanted}.", "Run make install.")
    if metadata.version("pandas").split(".")[0] != "2":
        raise EnvironmentProblem(f"pandas is {metadata.version('pandas')}, and PySpark 4.2 needs 2.", "Run make install.")
    return "versions " + ", ".join(f"{package} {version}" for package, version in PINNED.items())


def _java() -> str:
    from promolake.engine.jars import java

    return f"Java at {java()}"


def _ports() -> str:
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            return f"ports on 127.0.0.1 can be opened (tried {server.getsockname()[1]})"
    except OSError as error:
        raise EnvironmentProblem(f"No port can be opened on 127.0.0.1: {error.strerror}.", "Check the loopback interface.") from None
