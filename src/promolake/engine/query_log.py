"""The checkpoint of a streaming query as files: Spark's `metadata`, `offsets/N` and `commits/N` (reliability.md 2.1).

`offsets/N` is written before batch N runs, `commits/N` when it has run. Spark reads the last two of them and trusts what it reads.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from promolake.whole_file import write_whole

Ends = dict[str, dict[str, int]]
"""The offset after the last record read, by topic and partition, as Spark's Kafka source writes it down."""


@dataclass(frozen=True)
class Planned:
    """One `offsets/N`: the batch's settings and time, and a line per source."""

    settings: dict[str, object]
    sources: tuple[str, ...]

    @property
    def ends(self) -> Ends | None:
        """What a Kafka source has to read up to; None when it is another source's."""
        try:
            (source,) = self.sources
            ends = json.loads(source)
        except ValueError:
            return None
        return ends if isinstance(ends, dict) and all(isinstance(partitions, dict) for partitions in ends.values()) else None

    @property
    def versions(self) -> dict[str, int]:
        """What Delta sources have to read next, a version of the table by its id; empty when they are other sources."""
        read = [json.loads(source) for source in self.sources if source != "-"]
        return {one["reservoirId"]: one["reservoirVersion"] for one in read if isinstance(one, dict) and "reservoirId" in one}


class QueryLog:
    """The checkpoint in a folder, as it stood when this was made. A damaged file is kept as None, a missing one not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.name
        self.offsets = {number: _planned(file) for number, file in _numbered(folder / "offsets").items()}
        self.commits = {number: _is_commit(file) for number, file in _numbered(folder / "commits").items()}
        self.id = _query_id(folder / "metadata")

    @property
    def last(self) -> int:
        """The newest batch that was planned, -1 when none."""
        return max(self.offsets, default=-1)

    @property
    def last_done(self) -> int:
        """The newest batch that was finished, -1 when none."""
        return max(self.commits, default=-1)

    @property
    def read_up_to(self) -> dict[tuple[str, int], int]:
        """Where the finished batches end, by topic and partition: after their last record, and after the markers of transactions that
        follow it."""
        planned = self.offsets.get(self.last_done)
        ends = (planned and planned.ends) or {}
        return {(topic, int(partition)): end for topic, partitions in ends.items() for partition, end in partitions.items()}

    def offsets_file(self, number: int) -> Path:
        return self.folder / "offsets" / str(number)

    def commits_file(self, number: int) -> Path:
        return self.folder / "commits" / str(number)

    @property
    def metadata_file(self) -> Path:
        return self.folder / "metadata"

    # --- writing: what is lost, written down again as Spark would have done --------------------------------------------------------

    def write_id(self, query_id: str) -> None:
        _write(self.metadata_file, json.dumps({"id": query_id}))

    def write_planned(self, number: int, ends: Ends, batch_time_ms: int, like: Planned | None) -> None:
        """Writes `offsets/N`, with the settings of another batch when there is one."""
        settings = {"conf": {}} | (like.settings if like else {}) | {"batchWatermarkMs": 0, "batchTimestampMs": batch_time_ms}
        _write(self.offsets_file(number), f"v1\n{json.dumps(settings)}\n{json.dumps(ends)}")

    def write_done(self, number: int) -> None:
        """Writes `commits/N` of a query without watermarks."""
        _write(self.commits_file(number), 'v1\n{"nextBatchWatermarkMs":0}')


def scan_names(home: Path) -> list[str]:
    """The transaction names of the queries that have written in a home: `<query>@<id>`."""
    logs = [QueryLog(folder) for folder in sorted((home / "checkpoints").glob("*"))]
    return [f"{log.name}@{log.id}" for log in logs if log.id]


def _numbered(folder: Path) -> dict[int, Path]:
    files = folder.iterdir() if folder.is_dir() else ()
    return dict(sorted((int(file.name), file) for file in files if file.name.isdigit()))


def _planned(file: Path) -> Planned | None:
    try:
        version, settings, *sources = file.read_text().splitlines()
        if not version.startswith("v") or not sources:
            return None
        for source in sources:
            if source != "-":  # a source that had nothing yet
                json.loads(source)
        return Planned(dict(json.loads(settings)), tuple(sources))
    except (ValueError, FileNotFoundError):  # of Unicode, JSON, or too few lines; or a run has tidied it up meanwhile
        return None


def _is_commit(file: Path) -> bool:
    try:
        version, metadata = file.read_text().splitlines()
        return version.startswith("v") and isinstance(json.loads(metadata), dict)
    except (ValueError, FileNotFoundError):
        return False


def _query_id(file: Path) -> str | None:
    try:
        return str(json.loads(file.read_text())["id"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(file: Path, text: str) -> None:
    """Without the checksum Hadoop keeps of what stood there before."""
    file.with_name(f".{file.name}.crc").unlink(missing_ok=True)
    write_whole(file, text)
