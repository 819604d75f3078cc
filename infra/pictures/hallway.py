"""Draws hallway.svg for the README from hallway.py: `python infra/pictures/hallway.py`."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from promolake.hallway import HALLWAY
from promolake.serving import catalog
from promolake.serving.page.drawing import View, drawing

FILE = Path(__file__).with_name("hallway.svg")
ALONE = """\
svg { color: #1f2328; background: #ffffff; }
@media (prefers-color-scheme: dark) { svg { color: #e6edf3; background: #0d1117; } }
"""


def picture() -> str:
    """The drawing with its paint inside: a file of its own, light or dark as its reader likes."""
    paint = (resources.files("promolake.serving.page") / "static" / "hallway.css").read_text(encoding="utf-8")
    views = [View(view.name, view.reads) for view in catalog.views().values()]
    return drawing(HALLWAY, views, style=ALONE + paint) + "\n"


if __name__ == "__main__":
    FILE.write_text(picture(), encoding="utf-8")
