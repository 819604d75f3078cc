"""promolake beside what users would pick instead: what an event costs, how soon gold shows it, and whether that lasts.

`make bench QUICK=1` measures a reduced set in about ten minutes. BENCH_ENGINES="promolake,Flink SQL" measures some engines only,
BENCH_WORKS=all one kind of work, BENCH_REPORT names another directory. What was measured before stays in the report until it is
measured again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import pytest
from rich.console import Console

from bench import report
from bench.backlog import take
from bench.bursts import bursts
from bench.dataset import Dataset, dataset
from bench.endurance import endured
from bench.engines import ENGINES
from bench.engines.engine import Engine, Work
from bench.latency import under_load
from bench.machine import facts
from bench.results import Results

pytestmark = [pytest.mark.bench, pytest.mark.filterwarnings("default")]  # peers' packages warn as they like


class Sizes(NamedTuple):
    """How much is measured."""

    records: int
    repeats: int
    warm_s: float
    load_s: float
    drain_s: float
    bursts: tuple[int, ...]
    scales: tuple[int, ...]
    keys: tuple[int, ...]
    minutes: float


QUICK = Sizes(200_000, 1, 15, 20, 60, (), (), (), 0)
FULL = Sizes(100_000, 3, 30, 120, 180, (1, 100, 10_000), (4, 16), (4, 16), 30)
SIZES = QUICK if os.environ.get("QUICK") else FULL
QUICK_SLOW = ("common",)
RATE = 1000.0
GENERATOR_RATE = 5_000.0
"""What one sender sustains beside an engine on two cores: half of a faster engine's maximum is cut to it."""

console = Console(width=160)
CHOSEN = [engine for engine in ENGINES if engine.name in os.environ.get("BENCH_ENGINES", engine.name).split(",")]
WORKS = os.environ.get("BENCH_WORKS", "common,all").split(",")


def say(line: str) -> None:
    console.print(f"[dim]{line}[/dim]", highlight=False)


@pytest.fixture(scope="module")
def results() -> Iterator[Results]:
    kept = Results()
    for engine in CHOSEN:
        engine.prepare(say)
    kept.keep("machine", "facts", facts())
    yield kept
    console.print(report.write(kept), markup=False)
    console.print(f"report, results and plots: {kept.directory}")


def runs(repeat: int, slow: Sequence[str] = ()) -> list[tuple[Engine, Work]]:
    """Every engine with each work it does, another one first in every repeat; in a quick run slow engines do the works `slow` only."""
    turned = CHOSEN[repeat % len(CHOSEN) :] + CHOSEN[: repeat % len(CHOSEN)]
    allowed = {engine.name: slow if engine.slow and SIZES is QUICK else engine.does for engine in turned}
    return [(engine, work) for engine in turned for work in engine.does if work in allowed[engine.name] and work in WORKS]


def take_each(
    results: Results, data: Dataset, home: Path, pairs: Sequence[tuple[Engine, Work]], repeat: int, scale: int = 1, keys: int = 1
) -> None:
    for number, (engine, work) in enumerate(pairs, start=1):
        with console.status(f"{number} of {len(pairs)}: {engine.name}, {work}, {data.records:,} records, repeat {repeat + 1}"):
            taken = take(engine, work, data, home / f"{engine.name}-{work}-{repeat}".replace(" ", "_"))
        labels = {"records": data.records, "scale": scale, "keys": keys, "repeat": repeat}
        results.keep("backlog", f"{engine.name}, {work}, {data.records}, {keys}x, {repeat}", asdict(taken) | labels)
        verdict = f"NO SCORE: {'; '.join(taken.wrong)}" if taken.wrong else "the result is the truth"
        used = f"{taken.events:,} events, {taken.wall_s:.1f} s, {taken.cpu_s:.1f} CPU-s"
        console.print(f"{engine.name}, {work}: {used}, {verdict}", markup=False)


def assert_ours_scored(results: Results, measure: str) -> None:
    """A peer without a score is a finding; the product without one is a failure."""
    assert not [one["wrong"] for one in results.of(measure, engine="promolake") if one["wrong"]]


def test_backlog_of_next_to_nothing_shows_what_starting_costs(results: Results, tmp_path: Path) -> None:
    with dataset(tmp_path / "kafka", report.FEW, say) as data:
        take_each(results, data, tmp_path, runs(0), 0)
    assert_ours_scored(results, "backlog")


def test_backlog_events_per_cpu_second(results: Results, tmp_path: Path) -> None:
    with console.status(f"sending {SIZES.records:,} records"), dataset(tmp_path / "kafka", SIZES.records, say) as data:
        for repeat in range(SIZES.repeats):
            take_each(results, data, tmp_path, runs(repeat, slow=QUICK_SLOW), repeat)
    assert_ours_scored(results, "backlog")


def test_latency_at_a_thousand_a_second(results: Results, tmp_path: Path) -> None:
    loaded(results, tmp_path, lambda engine, work: RATE)


@pytest.mark.skipif(SIZES is QUICK, reason="only in the full run")
def test_latency_at_half_of_the_maximum(results: Results, tmp_path: Path) -> None:
    def half(engine: Engine, work: Work) -> float | None:
        scored = [one for one in results.of("backlog", engine=engine.name, work=work, scale=1) if not one["wrong"]]
        rates = [one["events"] / one["wall_s"] for one in scored if one["records"] != report.FEW]
        return min(max(rates) / 2, GENERATOR_RATE) if rates else None

    loaded(results, tmp_path, half)


def loaded(results: Results, home: Path, rate_of: Callable[[Engine, Work], float | None]) -> None:
    pairs = [(engine, work, rate_of(engine, work)) for engine, work in runs(1) if engine.lives]
    pairs = [(engine, work, rate) for engine, work, rate in pairs if rate]
    for number, (engine, work, rate) in enumerate(pairs, start=1):
        with console.status(f"{number} of {len(pairs)}: {engine.name}, {work}, {rate:,.0f} events a second"):
            place = home / f"{engine.name}-{work}".replace(" ", "_")
            delays = under_load(engine, work, rate, SIZES.warm_s, SIZES.load_s, SIZES.drain_s, place, say)
        results.keep("latency", f"{engine.name}, {work}, {rate:.0f}", asdict(delays))
        console.print(f"{engine.name}, {work}, {rate:,.0f}/s: {delays.wrong or delays.delays}", markup=False)
    assert_ours_scored(results, "latency")


@pytest.mark.skipif(not SIZES.bursts, reason="only in the full run")
def test_fixed_cost_of_a_batch(results: Results, tmp_path: Path) -> None:
    """Not of Flink, which shows the last second of a burst only when later events come."""
    for engine, work in runs(2):
        if engine.lives and engine.name != "Flink SQL":
            with console.status(f"bursts: {engine.name}, {work}"):
                for burst in bursts(engine, work, SIZES.bursts, tmp_path / f"{engine.name}-{work}".replace(" ", "_"), say):
                    results.keep("bursts", f"{engine.name}, {work}, {burst.events}", asdict(burst))
    assert results.of("bursts", engine="promolake", events=SIZES.bursts[-1])


@pytest.mark.skipif(not SIZES.scales, reason="only in the full run")
@pytest.mark.parametrize(("scale", "keys"), [*((scale, 1) for scale in FULL.scales), *((1, keys) for keys in FULL.keys)])
def test_more_data_and_more_keys(results: Results, tmp_path: Path, scale: int, keys: int) -> None:
    with dataset(tmp_path / "kafka", SIZES.records * scale, say, keys) as data:
        pairs = [(engine, work) for engine, work in runs(0) if not engine.slow]
        take_each(results, data, tmp_path, pairs, 0, scale, keys)
    assert_ours_scored(results, "backlog")


@pytest.mark.skipif(not SIZES.minutes, reason="only in the full run")
def test_endurance(results: Results, tmp_path: Path) -> None:
    (ours,) = (engine for engine in CHOSEN if engine.name == "promolake")
    results.keep("endurance", ours.name, endured(ours, SIZES.minutes, tmp_path / "home", say))
    assert_ours_scored(results, "endurance")
