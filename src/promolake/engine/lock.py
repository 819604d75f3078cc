"""One writer: on a local disk two processes that write a Delta table lose commits (reliability.md 0.1), so the second is refused."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from promolake.core.errors import HomeInUse
from promolake.core.table import Table


@contextmanager
def writing(home: Path, tables: Iterable[Table]) -> Iterator[None]:
    """Holds the right to write the tables of a home. Raises HomeInUse, naming the process that has it, at once.

    The kernel gives the right back however the process ends. Shared tables are not held: who writes one takes turns (`turn`).
    """
    with ExitStack() as locks:
        for table in tables:
            if table.shared:
                continue
            locks.enter_context(held(home / "locks" / f"{table.name}.lock", f"writes {table.name} in {home}"))
        yield


@contextmanager
def held(file: Path, does: str) -> Iterator[None]:
    """Holds one lock. Raises HomeInUse at once, naming the process that has it and what it `does`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+") as opened:
        if not _taken(opened):
            opened.seek(0)
            holder = opened.read().strip() or "unknown"
            raise HomeInUse(f"Process {holder} {does}.", "Stop it first, or use another --home.")
        opened.truncate(0)
        opened.write(str(os.getpid()))
        opened.flush()
        yield


@contextmanager
def turn(file: Path) -> Iterator[None]:
    """Waits for the lock and holds it, for as long as one write takes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


def _taken(opened: IO[str]) -> bool:
    """Whether the lock could be had. Who only looks (holders) has it for an instant, so a refusal is believed the fifth time."""
    for wait in (0.0, 0.005, 0.01, 0.02, 0.04):
        time.sleep(wait)
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        return True
    return False


def holders(home: Path) -> dict[str, int]:
    """The processes that hold a lock in a home, by the name of a table they write."""
    found: dict[int, str] = {}
    for file in sorted((home / "locks").glob("*.lock")):
        with file.open("a+") as opened:
            try:
                fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                opened.seek(0)
                if (text := opened.read().strip()).isdigit():
                    found.setdefault(int(text), file.stem)
    return {name: pid for pid, name in found.items()}
