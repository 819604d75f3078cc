"""What the doctor finds: the damage, where, how bad, the remedy; and where it keeps what a mend takes away."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path


class Harm(StrEnum):
    """What a damage does if nothing is done about it."""

    SILENT = "silent"  # rows are lost or counted twice, and nothing says so
    LOUD = "loud"  # a query refuses to start, or a table cannot be read
    NONE = "harmless"


class Backup:
    """A folder of its own per mending, `home/doctor/<time>`, that repeats the paths of the home; made when first needed."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.folder = home / "doctor" / datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")

    def take(self, *paths: Path) -> None:
        """Moves files or folders, and Hadoop's checksums of them, out of the home's way."""
        for path in paths:
            for one in (path, path.with_name(f".{path.name}.crc")):
                if one.exists():
                    kept = self.folder / one.relative_to(self._home)
                    while kept.exists():  # the same file, damaged and mended more than once
                        kept = kept.with_name(f"{kept.name}~")
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    shutil.move(one, kept)


@dataclass(frozen=True)
class Finding:
    """One damage. `mend` undoes it without losing or repeating a row; None when nothing is known to."""

    where: str
    what: str
    harm: Harm
    remedy: str
    mend: Callable[[Backup], None] | None = field(default=None, compare=False, repr=False)

    def as_dict(self) -> dict[str, object]:
        return {"where": self.where, "what": self.what, "harm": str(self.harm), "remedy": self.remedy, "can_mend": self.mend is not None}
