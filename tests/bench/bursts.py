"""What a batch costs whatever is in it: a warm engine, a pause, then so many events at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from bench.engines.engine import Engine, Work
from bench.latency import alive, simulate, until, visible
from bench.truth import Expected
from promolake.producers.promotion import PromotionDay
from promolake.producers.sending import Sender
from promolake.producers.truth import Happening

WARM_SECONDS, WARM_RATE = 15.0, 500.0
QUIET_SECONDS = 10.0
FIRST = 3_000  # before, nothing placed has been paid
VISIBLE_SECONDS = 120.0


@dataclass(frozen=True)
class Burst:
    """So many events at once; for none, what the engine uses in a second of silence."""

    engine: str
    work: Work
    events: int
    seconds: float | None
    cpu_s: float


def bursts(engine: Engine, work: Work, sizes: tuple[int, ...], home: Path, say: Callable[[str], None]) -> list[Burst]:
    """One burst of each size, from the last acknowledgement to gold showing its sales; the CPU is that beyond the idle one."""
    found = []
    with alive(engine, work, home, say) as (place, run, _), closing(engine.watch(place)) as watch:
        report = simulate(place, WARM_RATE, WARM_SECONDS)
        if not visible(watch, report["truth"], VISIBLE_SECONDS):
            return []
        before = run.take()
        time.sleep(QUIET_SECONDS)  # silence itself is what is measured
        after = run.take()
        idle = (after.cpu - before.cpu) / (after.at - before.at)
        found.append(Burst(engine.name, work, 0, None, idle))
        total = watch.total
        for size in sizes:
            happenings = _burst(size)
            total += _sales(happenings)
            before = run.take()
            with Sender(place.bootstrap, say) as sender:
                for happening in happenings:
                    assert sender.send(happening.message)
            sent = time.time()
            if not until(lambda total=total: watch.total >= total, VISIBLE_SECONDS):
                break
            after = run.take()
            used = after.cpu - before.cpu - idle * (after.at - before.at)
            found.append(Burst(engine.name, work, size, max(0.0, watch.seen_at - sent), used))
    return found


def _burst(size: int) -> list[Happening]:
    """So many events of the last minute, the last of them a sale."""
    day = PromotionDay(time.time_ns() % 1_000_003, 1000.0, datetime.now(UTC) - timedelta(minutes=1), trouble=False)
    happenings = islice(day, FIRST, None)
    taken: list[Happening] = []
    for happening in happenings:
        if len(taken) < size - 1:
            taken.append(happening)
        elif _sales([happening]):
            return [*taken, happening]
    raise AssertionError("a day without a sale")


def _sales(happenings: list[Happening]) -> int:
    expected = Expected()
    for happening in happenings:
        expected.add(happening)
    return sum(count for _, count in expected.tables["gmv_per_minute"].values())
