"""`python -m promolake.cli.priming`, a step of `make install`: fetches the jars of Spark and of the embedded broker, and writes the class
archives by which each later start of theirs is shorter."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from promolake import settings as configuration
from promolake.core.errors import EnvironmentProblem
from promolake.engine import class_archive, jars
from promolake.engine.runner import Runner
from promolake.engine.session import ended, session
from promolake.hallway import HALLWAY
from promolake.local.broker import Broker

NOWHERE = "127.0.0.1:1"  # a rehearsal speaks to no broker
PATIENCE_S = 120.0  # the JVM writes 200 MB while it ends


def main() -> int:
    """Both, the broker's while Spark rehearses. A machine that keeps no classes starts them as it ever did; one without jars fails."""
    try:
        _fetch(jars.SPARK_JARS)
        with ThreadPoolExecutor() as beside:
            broker = beside.submit(_prepare_the_broker)
            keep("Spark", class_archive.SPARK, rehearse)
        broker.result()
    except EnvironmentProblem as problem:
        print(f"  {problem}", file=sys.stderr)
        return problem.exit_code
    return 0


def _fetch(jar_set: jars.JarSet) -> None:
    found = jars.resolved(jar_set, _say)
    _say(f"{len(found)} {jar_set.name} jars are in {jars.jar_home()}")


def _prepare_the_broker() -> None:
    _fetch(jars.BROKER_JARS)
    keep("the broker", class_archive.BROKER, stand_up)


def keep(what: str, target: Path, load: Callable[[Path, Path], None]) -> None:
    """Has `load(archive, home)` write the archive and puts it in its place when it is whole."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=target.parent) as folder:
            fresh = Path(folder, target.name)
            load(fresh, Path(folder, "home"))
            # A JVM passes over an archive of other jars, and dies of half a one, leaving a report where it was started.
            command = [jars.java(), *class_archive.reading(fresh).split(), "-version"]
            subprocess.run(command, check=True, capture_output=True, cwd=folder)
            fresh.replace(target)
    except Exception as problem:
        print(f"  no class archive: {what} will start some seconds later each time ({problem})", file=sys.stderr)


def rehearse(archive: Path, home: Path) -> None:
    """Runs every flow over the contracts' examples in a JVM that writes what it has loaded into `archive`."""
    settings = configuration.load(home)
    configuration.writable_home(settings)
    spark = session(settings, "promolake-priming", _say, class_data=class_archive.writing(archive))
    try:
        Runner(settings, NOWHERE, spark, HALLWAY, "main", _say).rehearse()
    finally:
        ended(spark, PATIENCE_S)


def stand_up(archive: Path, home: Path) -> None:
    """Starts a broker that writes what it has loaded into `archive` when it ends, and ends it."""
    broker = Broker(home, class_archive.writing(archive))
    broker.start(_say, tied=True)
    broker.stop()


def _say(line: str) -> None:
    print(f"  {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
