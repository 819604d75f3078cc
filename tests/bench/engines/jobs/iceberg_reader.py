"""Reads an append-only Iceberg table of a Hadoop catalog from outside: `dump` its rows, or `watch` how many sales it shows.

`dump TABLE OUT`: an Arrow file. `watch TABLE SECONDS`: a line `time total` whenever a new snapshot shows more sales.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq


class IcebergTable:
    """Files are read once: an append-only table only gains some."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: set[str] = set()
        self._manifests: set[str] = set()
        self.version = 0

    def new_files(self) -> Iterator[Path]:
        """The data files the newest snapshot has and earlier calls did not give."""
        hint = self._folder / "metadata" / "version-hint.text"
        if not hint.exists() or (version := int(hint.read_text() or 0)) == self.version:
            return
        self.version = version
        metadata = json.loads((self._folder / "metadata" / f"v{version}.metadata.json").read_text())
        current = [one for one in metadata["snapshots"] if one["snapshot-id"] == metadata.get("current-snapshot-id")]
        for snapshot in current:
            for manifest in _records(snapshot["manifest-list"]):
                if manifest["manifest_path"] in self._manifests:
                    continue
                self._manifests.add(manifest["manifest_path"])
                for entry in _records(manifest["manifest_path"]):
                    path = entry["data_file"]["file_path"]
                    if entry["status"] != 2 and path not in self._known:  # 2: deleted
                        self._known.add(path)
                        yield _file(path)


def _file(uri: str) -> Path:
    return Path(uri.removeprefix("file:").replace("//", "/"))


def _records(uri: str) -> list[dict]:
    with _file(uri).open("rb") as file:
        return list(fastavro.reader(file))


def dump(folder: Path, out: Path) -> None:
    tables = [pq.read_table(file) for file in IcebergTable(folder).new_files()]
    rows = pa.concat_tables(tables)
    with pa.OSFile(str(out), "wb") as file, pa.ipc.new_file(file, rows.schema) as writer:
        writer.write_table(rows)


def watch(folder: Path, pause: float) -> None:
    """A cumulating window has a row per second: the latest of a minute counts."""
    table = IcebergTable(folder)
    latest: dict[tuple, tuple] = {}
    shown = 0
    while True:
        for file in table.new_files():
            for row in pq.read_table(file).to_pylist():
                grain = (row["window_start"], row["currency"], row["category"])
                latest[grain] = max(latest.get(grain, (row["window_end"], 0)), (row["window_end"], row["sale_count"]))
        total = sum(count for _, count in latest.values())
        if total > shown:
            shown = total
            print(time.time(), total, flush=True)
        time.sleep(pause)


if __name__ == "__main__":
    if sys.argv[1] == "dump":
        dump(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        watch(Path(sys.argv[2]), float(sys.argv[3]))
