"""A backlog: an engine takes all there is and ends; what it cost, and whether the result is the truth."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from bench.dataset import NAMES, Dataset
from bench.engines.engine import COMMON_TOPICS, REPOSITORY, Engine, Place, Work
from bench.machine import load
from bench.measuring import Metered
from bench.truth import judged

PATIENCE_SECONDS = 1800.0


@dataclass(frozen=True)
class Taken:
    """One run over a backlog. `wrong` says why it has no score; empty where it has one."""

    engine: str
    work: Work
    events: int
    wall_s: float
    cpu_s: float
    peak_memory: int
    load_before: float
    wrong: list[str]


def take(engine: Engine, work: Work, data: Dataset, home: Path) -> Taken:
    """Runs the engine over the dataset in a fresh home, which is removed when the result was right."""
    place = Place(home, data.bootstrap, work)
    home.mkdir(parents=True)
    before, began = load(), time.monotonic()
    with Metered(engine.command(place, "once"), place.log, REPOSITORY, engine.environment(place)) as run:
        ended = run.wait(PATIENCE_SECONDS)
        took, last = time.monotonic() - began, run.take()
        if not ended:
            wrong = [f"did not end within {PATIENCE_SECONDS:.0f} s"]
        elif run.exit_code:
            wrong = [f"ended with {run.exit_code}: {place.log.read_text(errors='replace').strip()[-300:]}"]
        else:
            wrong = judged(lambda: engine.differences(place, data.expected, data.truth))
    if not wrong:
        shutil.rmtree(home)
    events = data.events(tuple(NAMES) if work == "all" else COMMON_TOPICS)
    return Taken(engine.name, work, events, took, last.cpu, run.peak_memory, before, wrong)
