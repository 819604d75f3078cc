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
    _libraries_give_back()
    code = main(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


_DELTA = "narenas:2,tcache_max:2048,background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0"


def _libraries_give_back() -> None:
    """Has the libraries with an allocator of their own give back within a second what is free; each looks when it is loaded.

    Arrow's default, mimalloc, gives a thread's back when that thread asks for more, and most of a run's seldom do: its other one is
    jemalloc. delta-rs has a jemalloc, which keeps ten seconds' worth in eight arenas, and up to 32 KB of each size for each of its
    threads; of those there are sixty (jemalloc(3), "TUNING"; the name of the variable is of the crate tikv-jemallocator)."""
    if sys.platform == "linux":  # they are not in every platform's Arrow and delta-rs
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")
        os.environ.setdefault("_RJEM_MALLOC_CONF", _DELTA)


if __name__ == "__main__":
    process()
