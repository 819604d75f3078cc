"""The audit's pages as files that open anywhere: nothing is fetched from the internet, no script runs, the first page is an overview."""

from __future__ import annotations

import html
import os
import re
import shutil
from collections.abc import Sequence
from datetime import datetime
from importlib import resources
from pathlib import Path

from promolake.quality.findings import Finding

STYLE = "pages.css"
# Bootstrap, jQuery and fonts from CDNs, logos from a bucket, the scripts and styles that need them.
_REMOTE = re.compile(
    r"<script\b.*?</script>|<style\b.*?</style>|<link\b[^>]*>|<img\b[^>]*>|<footer\b.*?</footer>", re.DOTALL | re.IGNORECASE
)


def made_local(folder: Path) -> None:
    """Takes out of every page what it would fetch or run, and gives it the house's own style."""
    shutil.rmtree(folder / "static", ignore_errors=True)
    (folder / STYLE).write_text((resources.files("promolake.quality") / STYLE).read_text(encoding="utf-8"), encoding="utf-8")
    for page in folder.rglob("*.html"):
        style = f'<link rel="stylesheet" href="{os.path.relpath(folder / STYLE, page.parent)}">'
        page.write_text(_REMOTE.sub("", page.read_text(encoding="utf-8")).replace("</head>", f"{style}</head>", 1), encoding="utf-8")


def write_overview(folder: Path, audited_at: datetime, suites: dict[str, Sequence[Finding]], notes: Sequence[str]) -> Path:
    """Writes index.html: one row per suite with its page, then everything that is broken, then the notes."""
    rows = "".join(_row(folder, name, findings) for name, findings in suites.items())
    broken = [one for findings in suites.values() for one in findings if not one.is_success]
    listed = "".join(
        f"<tr><td class={_class(one)}>{one.severity}</td>{_cells(one.table_name, one.expectation, one.column_names, one.details)}</tr>"
        for one in broken
    )
    what = "<tr><th>Severity<th>Table<th>Expectation<th>Columns<th>Broken by</tr>"
    index = folder / "index.html"
    index.write_text(
        '<!DOCTYPE html><html lang="en"><head><meta charset="UTF-8"><title>promolake audit</title>'
        f'<link rel="stylesheet" href="{STYLE}"></head><body><h1>promolake audit</h1>'
        f'<p class="faint">{audited_at:%Y-%m-%d %H:%M:%S} UTC, by Great Expectations. Every audit stands in ops.audits.</p>'
        '<table><tr><th>Audited<th>State<th class="number">Kept<th class="number">Expected<th class="number">Version<th>What was expected'
        f"</tr>{rows}</table>"
        + (f"<h4>Broken</h4><table>{what}{listed}</table>" if broken else "")
        + "".join(f'<p class="faint">{html.escape(note)}</p>' for note in notes)
        + "</body></html>\n",
        encoding="utf-8",
    )
    return index


def _row(folder: Path, name: str, findings: Sequence[Finding]) -> str:
    broken = [one for one in findings if not one.is_success]
    state = next((f"<td class={_class(one)}>{_word(one)}" for one in sorted(broken, key=lambda one: one.severity)), "<td class=kept>kept")
    results, suite = (_link(folder, pattern, text) for pattern, text in (
        (f"validations/{name.replace('.', '/')}/**/*.html", name), (f"expectations/{name.replace('.', '/')}.html", "suite"),
    ))  # fmt: skip
    version = findings[0].table_version if "." in name else ""
    numbers = "".join(f'<td class="number">{number}' for number in (len(findings) - len(broken), len(findings), version))
    return f"<tr><td>{results}{state}{numbers}<td>{suite}</tr>"


def _link(folder: Path, pattern: str, text: str) -> str:
    found = next(folder.glob(pattern), None)
    return f'<a href="{found.relative_to(folder)}">{text}</a>' if found else text


def _class(one: Finding) -> str:
    return "broken" if one.is_failure else "warned"


def _word(one: Finding) -> str:
    return "broken" if one.is_failure else "warning"


def _cells(*texts: str) -> str:
    return "".join(f"<td>{html.escape(text)}</td>" for text in texts)
