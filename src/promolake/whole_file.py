"""Small files of state that are there whole or not at all, whenever the process dies or the disk fills up."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4


def write_whole(file: Path, text: str) -> None:
    """Puts the text in place of what the file holds, and makes its folder if need be."""
    file.parent.mkdir(parents=True, exist_ok=True)
    being_written = file.with_name(f".{file.name}.new")
    with being_written.open("w") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())
    being_written.replace(file)


def write_new(file: Path, text: str, mode: int = 0o644) -> None:
    """Puts a file with the text where there is none. Raises FileExistsError: of two who try at once, one does it."""
    being_written = file.with_name(f".{file.name}.{uuid4()}.new")
    try:
        being_written.touch(mode, exist_ok=False)
        being_written.write_text(text)
        os.link(being_written, file)
    finally:
        being_written.unlink(missing_ok=True)
