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
    _arrow_gives_back()
    code = main(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _arrow_gives_back() -> None:
    """Has Arrow take its memory from jemalloc, which gives back within a second what is free. Its default, mimalloc, gives a thread's back
    when that thread asks for more, and most of a run's seldom do: 190 MB were kept for 10 in use. Arrow looks when it is loaded."""
    if sys.platform == "linux":  # it is not in every platform's Arrow
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")


if __name__ == "__main__":
    process()
