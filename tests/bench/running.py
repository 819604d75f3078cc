"""promolake's own processes in a home, on a broker that is there already."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bench.latency import READY_SECONDS, until
from promolake.local.processes import Child


def started(home: Path, bootstrap: str, command: str, *options: str, **variables: str) -> Child:
    line = [sys.executable, "-m", "promolake.cli", "--home", str(home), command, *options]
    environment = os.environ | variables | {"PROMOLAKE_KAFKA__BOOTSTRAP": bootstrap, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return Child(line, home / f"{command}.log", tied=True, env=environment)


def await_line(log: Path, begin: str, child: Child) -> str:
    """The first line of the log that begins so."""

    def found() -> list[str]:
        return [line for line in log.read_text().splitlines() if line.startswith(begin)]

    assert until(lambda: child.exit_code is not None or found(), READY_SECONDS), log.read_text()
    assert child.exit_code is None, log.read_text()
    return found()[0]
