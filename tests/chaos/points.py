"""Every point at which a process can be killed (victim.py): before and after each commit of each flow, and before Spark's own."""

from __future__ import annotations

from promolake.core.table import Written
from promolake.engine.intake import LAYER
from promolake.engine.lateness import BOOKS
from promolake.hallway import HALLWAY

METRICS = [flow.table for flow in HALLWAY.metrics]
JOINS = [flow.table for flow in HALLWAY.joins]
BEFORE_COMMIT_LOG = "before-commit-log:main"

SCAN = [
    *(
        f"{when}:{table.name}"
        for table in (*(t for flow in HALLWAY.ingests for t in (flow.bronze, flow.quarantine, flow.table)), *METRICS, *BOOKS)
        for when in ("before", "after")
    ),
    *(f"between:{table.name}" for table in METRICS),
    *(f"{when}:{forward.name}" for forward in HALLWAY.forwards for when in ("before", "after")),
    BEFORE_COMMIT_LOG,
]
INTAKE = [f"{LAYER}.{reads.table.short}" for flow in HALLWAY.joins for reads in flow.reads]
JOIN = [
    *(f"{when}:{name}" for name in INTAKE for when in ("before", "after")),
    *(f"{when}:{table.name}" for table in JOINS for when in ("before", "after")),
    *(f"before-commit-log:{table.short}" for table in JOINS),
    *(f"{when}-settling:{table.name}" for table in JOINS for when in ("before", "after")),
]


def after_gold(written: Written) -> list[str]:
    return [f"after:{table.name}" for table in METRICS if table.written is written]


def within_gold(written: Written) -> list[str]:
    return [f"between:{table.name}" for table in METRICS if table.written is written]
