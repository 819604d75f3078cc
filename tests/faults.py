"""Faults on purpose: commits that fail as a full disk or a kill between two of them would make them, and damaged files."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from promolake.core.table import Table
from promolake.engine.lakehouse import Lakehouse, Txn

Hanging = Callable[[], AbstractContextManager[Callable[[], None]]]
"""Within `hanging()` a broker takes connections and answers nothing, until what is given is called (conftest.py)."""


class Faults:
    """Makes the next commit of rows to each armed table fail, once; a write that was committed before cannot fail.

    `armed` are those still to fail, with the first batch in which they do; `fired` the (table, batch) that did; `skipped` those whose
    write was found to be committed before.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.armed: dict[str, int] = {}
        self.fired: list[tuple[str, int]] = []
        self.skipped: list[tuple[str, int]] = []
        for name in ("append", "upsert"):
            patch.setattr(Lakehouse, name, self._failing(getattr(Lakehouse, name)))

    def arm(self, *names: str, from_batch: int = 0) -> None:
        self.armed |= dict.fromkeys(names, from_batch)

    def _failing(self, commit: Callable[..., bool]) -> Callable[..., bool]:
        def failing(lake: Lakehouse, table: Table, rows: pa.Table, txn: Txn) -> bool:
            is_due = self.armed.get(table.name, txn.version + 1) <= txn.version
            if is_due and rows.num_rows and lake.transaction(table, txn.app) < txn.version:
                del self.armed[table.name]
                self.fired.append((table.name, txn.version))
                raise OSError("No space left on device")
            written = commit(lake, table, rows, txn)
            if rows.num_rows and not written:
                self.skipped.append((table.name, txn.version))
            return written

        return failing


class Died(Exception):
    """In the place of a kill."""


def dies_before(patch: pytest.MonkeyPatch, lake: Lakehouse, table: str) -> None:
    """From now on whoever writes to the table of this lake dies instead."""

    def dying(write: Callable[..., bool]) -> Callable[..., bool]:
        def wrapped(target: Table, *rest: Any) -> bool:
            if target.name == table:
                raise Died
            return write(target, *rest)

        return wrapped

    for name in ("append", "upsert"):
        patch.setattr(lake, name, dying(getattr(lake, name)))


# --- what a crash of the machine makes of a file that was just written ------------------------------------------------------------


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def cut_in_a_line(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-30])


def cut_after_a_line(file: Path) -> None:
    file.write_bytes(file.read_bytes().splitlines()[0])
