"""What there is to query: the lake's tables that may be shown, and the views over them, by the names they have in every engine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

LAYERS = ("gold", "silver", "ops")
_INDENT = "   "


@dataclass(frozen=True)
class View:
    """One file of views/: `text` is a single SELECT over tables, valid in Spark SQL and in DuckDB.

    Its leading comment describes it; the comment's indented lines, `name: meaning`, describe its columns.
    """

    name: str
    text: str

    @property
    def description(self) -> str:
        return " ".join(line.strip() for line in self._comment if not line.startswith(_INDENT))

    @property
    def meanings(self) -> dict[str, str]:
        """What each column means, by its name, in their order."""
        return dict(line.strip().split(": ", 1) for line in self._comment if line.startswith(_INDENT))

    @property
    def _comment(self) -> list[str]:
        return [line.removeprefix("--") for line in re.match(r"(--.*\n)*", self.text)[0].splitlines()]

    @property
    def reads(self) -> set[str]:
        """The tables it names."""
        return set(re.findall(rf"\b(?:{'|'.join(LAYERS)})\.\w+", re.sub(r"--.*", "", self.text)))


def views() -> dict[str, View]:
    """Every view by name (`gold.top_products`), in alphabetical order."""
    files = (resources.files("promolake.serving") / "views").iterdir()
    found = sorted((file.name.removesuffix(".sql"), file.read_text(encoding="utf-8")) for file in files if file.name.endswith(".sql"))
    return {f"gold.{name}": View(f"gold.{name}", text) for name, text in found}


def tables(root: Path) -> dict[str, Path]:
    """The Delta tables under `root` that may be shown, by name (`gold.gmv_per_minute`), with their directories."""
    logs = (log for layer in LAYERS for log in sorted((root / layer).glob("*/_delta_log")))
    named = {f"{log.parent.parent.name}.{log.parent.name}": log.parent for log in logs}
    return {name: path for name, path in named.items() if not in_clear(name)}


def in_clear(name: str) -> bool:
    """Whether the table holds raw payloads, and with them personal data in clear: bronze and the quarantines."""
    layer, _, short = name.partition(".")
    return layer == "bronze" or short.startswith("quarantine_")
