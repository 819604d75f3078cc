"""One writer: on a local disk two processes that write a Delta table lose commits (reliability.md 0.1), so the second is refused."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from promolake.core.errors import HomeInUse
from promolake.core.table import Table


@contextmanager
def writing(home: Path, tables: Iterable[Table]) -> Iterator[None]:
    """Holds the right to write the tables of a home. Raises HomeInUse, naming the process that has it, at once.

    The kernel gives the right back however the process ends.
    """
    folder = home / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        for table in tables:
            file = held.enter_context(open(folder / f"{table.name}.lock", "a+"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "unknown"
                raise HomeInUse(f"Process {holder} writes {table.name} in {home}.", "Stop it first, or use another --home.") from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        yield


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
