"""Gold tables the scan goes on without: each failed in one batch again and again, and is behind until it is rebuilt."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from promolake.whole_file import write_whole


class StoppedTables:
    """The stopped tables of a home, kept in state/stopped.json by the process that holds the tables' locks."""

    def __init__(self, home: Path) -> None:
        self._file = home / "state" / "stopped.json"

    @property
    def names(self) -> set[str]:
        return set(self._known())

    def batch(self, name: str) -> int:
        """The batch the table has not taken, nor any after it."""
        return self._known()[name]["batch_id"]

    def add(self, name: str, batch_id: int, reason: str) -> None:
        """Written before the scan goes on without the table: were it forgotten, the table would silently miss a batch."""
        self._write(self._known() | {name: {"batch_id": batch_id, "reason": reason}})

    def clear(self, names: Iterable[str]) -> None:
        """A rebuilt table holds what bronze holds, and is streamed into again."""
        if self.names & set(names):
            self._write({name: entry for name, entry in self._known().items() if name not in set(names)})

    def _known(self) -> dict[str, dict]:
        return json.loads(self._file.read_text()) if self._file.exists() else {}

    def _write(self, entries: dict[str, dict]) -> None:
        write_whole(self._file, json.dumps(entries, indent=1, sort_keys=True))
