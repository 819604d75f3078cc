"""Spark's Python daemon (`pyspark.daemon`), quiet when the session ends: each idle worker would print the traceback of its broken pipe."""

from __future__ import annotations

from typing import Any

from pyspark import daemon

_worker = daemon.worker


def worker(*connection: Any) -> int:
    """A worker's exit code; 1 when Spark has gone away."""
    try:
        return _worker(*connection)
    except BrokenPipeError:
        return 1


if __name__ == "__main__":
    daemon.worker = worker
    daemon.manager()
