"""Half an hour under load: does memory stay flat, is a late batch as quick as an early one, and is gold as fresh at the end?"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from typing import Any

from bench.engines.engine import Engine, Place, Say
from bench.latency import alive, books, figures, simulate, untrue
from bench.measuring import Sample
from promolake.cli.operating import size_of
from promolake.producers.simulator import sales_file

RATE = 1000.0
WARM_S = 300.0  # Java's heap and the caches grow into their places
EARLY, LATE = slice(50, 150), slice(-100, None)
SERIES = 360
DRAIN_S = 120.0
SLICE_S = 300.0  # delays are told by five minutes: two minutes alone would flatter whatever keeps state


def endured(engine: Engine, minutes: float, home: Path, say: Say) -> dict[str, Any]:
    with alive(engine, "all", home, say) as (place, run, _), closing(engine.watch(place)) as watch:
        began = time.time()
        with sized(place.home / "checkpoints") as state:
            report = simulate(place, RATE, minutes * 60)
        wrong = untrue(engine, place, run, watch, report["truth"], DRAIN_S)
        starts = [began + SLICE_S * n for n in range(max(1, round(minutes * 60 / SLICE_S)))]
        delays = [figures(watch.delays(sales_file(books(place)), 0, start, start + SLICE_S)) for start in starts]
        samples, times = list(run.samples), batch_seconds(engine, place)
    enough = len(times) >= EARLY.stop + 100
    return {
        "engine": engine.name,
        "minutes": minutes,
        "wrong": wrong,
        "batches": len(times),
        "drift": median(times[LATE]) / median(times[EARLY]) if enough else None,
        "delays": delays,
        "memory": samples[-1].memory,
        "memory_slope": slope(samples),
        "state": state,
        "series": [(one.at, one.memory) for one in samples[:: max(1, len(samples) // SERIES)]],
    }


@contextmanager
def sized(folder: Path, every_s: float = SLICE_S - 1.0) -> Iterator[list[int]]:
    """Bytes in the files of the folder, time and again until the context is left: what an engine remembers from batch to batch, as it
    keeps it. A second earlier than the delays are told by, or the last time would come after the end."""
    sizes: list[int] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(every_s):
            sizes.append(size_of(folder))

    thread = threading.Thread(target=look, name="state", daemon=True)
    thread.start()
    try:
        yield sizes
    finally:
        over.set()
        thread.join()


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
