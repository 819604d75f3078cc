"""Half an hour under load: does memory stay flat, and is a late batch as quick as an early one?"""

from __future__ import annotations

from contextlib import closing
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from typing import Any

from bench.engines.engine import Engine, Place, Say
from bench.latency import alive, simulate, visible
from bench.measuring import Sample

RATE = 1000.0
WARM_S = 300.0  # Java's heap and the caches grow into their places
EARLY, LATE = slice(50, 150), slice(-100, None)
SERIES = 360


def endured(engine: Engine, minutes: float, home: Path, say: Say) -> dict[str, Any]:
    with alive(engine, "all", home, say) as (place, run, _), closing(engine.watch(place)) as watch:
        report = simulate(place, RATE, minutes * 60)
        visible(watch, report["truth"], 120)
        samples, times = list(run.samples), batch_seconds(engine, place)
    enough = len(times) >= EARLY.stop + 100
    return {
        "engine": engine.name,
        "minutes": minutes,
        "batches": len(times),
        "drift": median(times[LATE]) / median(times[EARLY]) if enough else None,
        "memory": samples[-1].memory,
        "memory_slope": slope(samples),
        "series": [(one.at, one.memory) for one in samples[:: max(1, len(samples) // SERIES)]],
    }


def batch_seconds(engine: Engine, place: Place) -> list[float]:
    """From one batch's cut to the next one's, as the ledger has them: Spark itself remembers the last hundred batches only."""
    cuts = engine.rows(place, "ops", "ledger", "DISTINCT batch_id, ingested_at").to_pylist()
    times = sorted(cut["ingested_at"] for cut in cuts)
    return [(later - earlier).total_seconds() for earlier, later in pairwise(times)]


def slope(samples: list[Sample]) -> float:
    """Growth of memory per 10 minutes after warm-up, as a share of it: least squares."""
    late = [one for one in samples if one.at > WARM_S]
    if len(late) < 2:
        return 0.0
    at, size = mean(one.at for one in late), mean(one.memory for one in late)
    rise = sum((one.at - at) * (one.memory - size) for one in late) / sum((one.at - at) ** 2 for one in late)
    return rise * 600 / size
