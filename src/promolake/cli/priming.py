"""`python -m promolake.cli.priming`, a step of `make install`: writes the class archive by which each later start of Spark is shorter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from promolake import settings as configuration
from promolake.engine import class_archive, jars
from promolake.engine.runner import Runner
from promolake.engine.session import ended, session
from promolake.hallway import HALLWAY

NOWHERE = "127.0.0.1:1"  # a rehearsal speaks to no broker
PATIENCE_S = 120.0  # the JVM writes 200 MB while it ends


def main() -> int:
    """Rehearses every flow in a lake of its own and keeps the classes that were loaded. A machine it fails on starts as it ever did."""
    target = class_archive.FILE
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=target.parent) as folder:
            fresh = Path(folder, target.name)
            rehearse(fresh, Path(folder, "home"))
            # A JVM passes over an archive of other jars, and dies of half a one, leaving a report where it was started.
            command = [jars.java(), *class_archive.reading(fresh).split(), "-version"]
            subprocess.run(command, check=True, capture_output=True, cwd=folder)
            fresh.replace(target)
    except Exception as problem:
        print(f"  no class archive: Spark will start some seconds later each time ({problem})", file=sys.stderr)
    return 0


def rehearse(archive: Path, home: Path) -> None:
    """Runs every flow over the contracts' examples in a JVM that writes what it has loaded into `archive`."""
    settings = configuration.load(home)
    configuration.writable_home(settings)
    spark = session(settings, "promolake-priming", _say, class_data=class_archive.writing(archive))
    try:
        Runner(settings, NOWHERE, spark, HALLWAY, "main", _say).rehearse()
    finally:
        ended(spark, PATIENCE_S)


def _say(line: str) -> None:
    print(f"  {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
