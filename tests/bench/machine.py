"""The machine the figures come from."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

from bench.engines.environment import REQUIREMENTS
from bench.engines.flink import JARS as FLINK_JARS
from promolake.engine.jars import java


def facts() -> dict[str, str]:
    said = subprocess.run([str(java()), "-version"], capture_output=True, text=True).stderr
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())[1]
    processor = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    locked = dict(
        re.findall(r"^(confluent-kafka|polars|apache-flink|deltalake)==(\S+)", "".join(
            (REQUIREMENTS / f"{name}.txt").read_text() for name in ("floor", "flink")
        ), re.MULTILINE)
    )  # fmt: skip
    return {
        "kernel": platform.release(),
        "processor": processor[1] if processor else platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{int(memory) / 2**20:.0f} GiB",
        "java": said.splitlines()[0],
        "python": platform.python_version(),
        "promolake's": ", ".join(f"{name} {version(name)}" for name in ("pyspark", "delta-spark", "deltalake", "pyarrow")),
        "peers'": ", ".join([*(f"{name} {number}" for name, number in sorted(locked.items())), *FLINK_JARS.coordinates]),
        "commit": subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip(),
    }


def load() -> float:
    """The load of the last minute: what else ran before a measurement."""
    return os.getloadavg()[0]
