"""What has been measured, kept as JSON in one directory: a measurement made again replaces the old one, the others stay."""

from __future__ import annotations

import json
import os
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from bench.engines.engine import REPOSITORY
from promolake.whole_file import write_whole

KIND = "quick" if os.environ.get("QUICK") else "full"
DIRECTORY = Path(os.environ.get("BENCH_REPORT", REPOSITORY / "bench-report" / KIND))
Record = dict[str, Any]


class Spread(NamedTuple):
    median: float
    low: float
    high: float


class Results:
    """Records by measure and by what was measured; `keep` writes them at once, so a run cut short loses nothing."""

    def __init__(self, directory: Path = DIRECTORY) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._file = directory / "results.json"
        self._kept: dict[str, dict[str, Record]] = json.loads(self._file.read_text()) if self._file.exists() else {}

    def keep(self, measure: str, name: str, record: Record) -> None:
        self._kept.setdefault(measure, {})[name] = record
        write_whole(self._file, json.dumps(self._kept, indent=1, sort_keys=True))

    def of(self, measure: str, **wanted: object) -> list[Record]:
        """The records of a measure whose fields have the wanted values."""
        return [one for one in self._kept.get(measure, {}).values() if all(one.get(name) == value for name, value in wanted.items())]


def spread(values: list[float]) -> Spread | None:
    return Spread(median(values), min(values), max(values)) if values else None
