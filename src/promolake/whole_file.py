"""Small files of state that are there whole or not at all, whenever the process dies or the disk fills up."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(file: Path, text: str) -> None:
    """Puts the text in place of what the file holds, and makes its folder if need be."""
    file.parent.mkdir(parents=True, exist_ok=True)
    being_written = file.with_name(f".{file.name}.new")
    with being_written.open("w") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())
    being_written.replace(file)
