"""The process `promolake`, and `python -m promolake.cli`, which is how the demo starts its parts."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from promolake.cli import main


def process(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and ends the process with its exit code.

    At once, not through the interpreter's own end: everything is closed by then, but py4j's threads cannot be ended, and what they keep
    makes DuckDB's binding print pages about leaks.
    """
    code = main(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    process()
