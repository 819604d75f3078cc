"""A Delta log read without trusting it: which commits and checkpoints there are, what is wrong with them, and what they record.

delta-rs and Spark read a commit file of 0 bytes as a commit of nothing (reliability.md 2.9), and one cut off at the end of a line as a
commit of less: rows vanish without an error. Who only opens the table cannot see that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

FOLDER = "_delta_log"
UNPARSEABLE = "cannot be parsed"
_COMMIT = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint(?:\.\d{10}\.\d{10})?\.parquet")
_COUNTED = {  # what is said that a commit adds and removes, in its first line
    "add": ("num_added_files", "num_target_files_added", "numFilesAdded"),
    "remove": ("num_removed_files", "num_target_files_removed", "numFilesRemoved"),
}
ENGINE = "promolake"  # the `engineInfo` of commits by this house's own hand (commits.py)
_COUNTING = ("delta-rs", ENGINE)  # what begins `engineInfo` of those that say it
_UNREADABLE = (OSError, pa.ArrowException, ValueError, KeyError)


@dataclass(frozen=True)
class Commit:
    """One commit file; `fault` says what is wrong with it, or is empty. A faulty one holds the actions that can still be read."""

    version: int
    file: Path
    actions: tuple[dict[str, Any], ...]
    fault: str

    @property
    def replaces_all(self) -> bool:
        """Whether every row before it is gone: what was lost before is made good by it."""
        info = next((action["commitInfo"] for action in self.actions if "commitInfo" in action), {})
        parameters = info.get("operationParameters", {})
        return info.get("operation") == "WRITE" and parameters.get("mode") == "Overwrite" and not parameters.get("predicate", "")


class DeltaLog:
    """The log of the table in the folder `table`, as it stood when this was made."""

    def __init__(self, table: Path) -> None:
        self.table = table
        self.folder = table / FOLDER
        self.name = f"{table.parent.name}.{table.name}"
        self.commits: dict[int, Path] = {}
        self._checkpoints: dict[int, list[Path]] = {}
        for file in sorted(self.folder.iterdir()) if self.folder.is_dir() else ():
            if found := _COMMIT.fullmatch(file.name):
                self.commits[int(found[1])] = file
            elif found := _CHECKPOINT.fullmatch(file.name):
                self._checkpoints.setdefault(int(found[1]), []).append(file)

    @property
    def hint(self) -> Path:
        """The file that names the newest checkpoint."""
        return self.folder / "_last_checkpoint"

    @property
    def checkpoints(self) -> dict[int, list[Path]]:
        return dict(self._checkpoints)

    @cached_property
    def checkpoint(self) -> int:
        """The version of the newest checkpoint that can be read, -1 when none."""
        return max((version for version in self._checkpoints if self.is_readable(version)), default=-1)

    @property
    def newest(self) -> int:
        return max((*self.commits, self.checkpoint), default=-1)

    @property
    def table_id(self) -> str:
        """The id Delta gave the table when it was created; empty when the log cannot say."""
        for row in self._checkpointed("metaData"):
            return row["id"]
        found = (action["metaData"]["id"] for commit in self.recent() for action in commit.actions if "metaData" in action)
        return next(found, "")

    def is_readable(self, checkpoint: int, *, whole: bool = False) -> bool:
        """Whether a checkpoint can be read: its footer and transactions, or `whole`."""
        try:
            for file in self._checkpoints[checkpoint]:
                pq.read_table(file, columns=None if whole else ["txn"])
        except _UNREADABLE:
            return False
        return True

    @property
    def holes(self) -> list[int]:
        """Versions after the checkpoint whose commit is missing: without them nobody can read the table."""
        return [version for version in range(self.checkpoint + 1, self.newest) if version not in self.commits]

    def commit(self, version: int) -> Commit:
        return _commit(version, self.commits[version])

    def recent(self) -> Iterator[Commit]:
        """The commits the newest checkpoint does not cover, oldest first."""
        for version in sorted(self.commits):
            if version > self.checkpoint:
                yield self.commit(version)

    def faulty(self, *, everywhere: bool = False) -> list[Commit]:
        """Commits whose rows are lost to readers: recent ones, and with `everywhere` empty ones of any age; made good by none since."""
        found: list[Commit] = []
        if everywhere:
            old = (version for version, file in self.commits.items() if version <= self.checkpoint and file.stat().st_size == 0)
            found = [self.commit(version) for version in sorted(old)]
            if found:
                later = (self.commit(version) for version in self.commits if found[-1].version < version <= self.checkpoint)
                found = [] if any(commit.replaces_all for commit in later) else found
        for commit in self.recent():
            if commit.fault:
                found.append(commit)
            elif commit.replaces_all:
                found.clear()
        return found

    def transactions(self) -> dict[str, int]:
        """The last version every app committed, of what can be read."""
        found: dict[str, int] = {}
        for row in self._checkpointed("txn"):
            found[row["appId"]] = row["version"]
        for commit in self.recent():
            for action in commit.actions:
                if "txn" in action:
                    found[action["txn"]["appId"]] = action["txn"]["version"]
        return found

    def files(self) -> dict[Path, int]:
        """The data files of the newest version and their sizes, bytes."""
        found = {self._path(row["path"]): row["size"] for row in self._checkpointed("add")}
        for commit in self.recent():
            for action in commit.actions:
                if "remove" in action:
                    found.pop(self._path(action["remove"]["path"]), None)
                if "add" in action:
                    found[self._path(action["add"]["path"])] = action["add"]["size"]
        return found

    def _path(self, written: str) -> Path:
        return self.table / unquote(written)

    def _checkpointed(self, action: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for file in self._checkpoints.get(self.checkpoint, ()):
            rows += pq.read_table(file, columns=[action])[action].drop_null().to_pylist()
        return rows


def commit_of(table: Path, version: int) -> Commit | None:
    """One commit of the table in a folder, None when there is none (yet, or any more): nothing is listed for it."""
    file = table / FOLDER / f"{version:020}.json"
    try:
        return _commit(version, file)
    except FileNotFoundError:
        return None


def _commit(version: int, file: Path) -> Commit:
    text = file.read_bytes()
    actions: list[dict[str, Any]] = []
    fault = "" if text.strip() else "is empty"
    for line in text.splitlines():
        try:
            actions.append(json.loads(line))
        except ValueError:
            fault = UNPARSEABLE
    if not fault and any(_promised(actions, kind) > sum(kind in action for action in actions) for kind in _COUNTED):
        fault = "is cut off"
    return Commit(version, file, tuple(actions), fault)


def _promised(actions: list[dict[str, Any]], kind: str) -> int:
    """How many files a commit says it adds or removes; 0 when its writer was neither delta-rs nor this house."""
    info = next((action["commitInfo"] for action in actions if "commitInfo" in action), {})
    if not str(info.get("engineInfo", "")).startswith(_COUNTING):
        return 0
    metrics = info.get("operationMetrics") or {}
    return next((int(metrics[name]) for name in _COUNTED[kind] if name in metrics), 0)


def has_more(table: Path, version: int) -> bool:
    """Whether there are commits behind this version, or no log any more: what an open handle has to be asked about. One system call
    or two; to ask delta-rs takes two milliseconds."""
    folder = table / FOLDER
    return (folder / f"{version + 1:020}.json").exists() or not folder.is_dir()


def at_the_end(log: DeltaLog, faulty: list[Commit]) -> bool:
    """Whether the faulty commits are the newest."""
    return [commit.version for commit in faulty] == list(range(log.newest - len(faulty) + 1, log.newest + 1))


def logs(lake: Path) -> list[DeltaLog]:
    """The log of every table of a lake, by name."""
    return [DeltaLog(folder.parent) for folder in sorted(lake.glob(f"*/*/{FOLDER}"))]
