"""The goals the figures are held against, as ratios of what was measured on one machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from bench.results import Record, Results


@dataclass(frozen=True)
class Goal:
    what: str
    bound: float
    at_least: bool
    found: float | None

    @property
    def wanted(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.bound:g}"

    @property
    def verdict(self) -> str:
        if self.found is None:
            return ""
        return "met" if (self.found >= self.bound) == self.at_least or self.found == self.bound else "MISSED"


def judged(results: Results) -> list[Goal]:
    from bench import report  # which shows these in turn

    def ratio(figures: Callable[[Results, str, str], list[float]], work: str, peer: str) -> float | None:
        ours, theirs = (figures(results, engine, work) for engine in ("promolake", peer))
        return median(ours) / median(theirs) if ours and theirs else None

    def beyond(work: str, peer: str) -> float | None:
        """Events per CPU second once started: the inverse ratio of what an event costs."""
        found = ratio(report.marginal, work, peer)
        return 1 / found if found else None

    whole = report.per_cpu_second
    return [
        Goal("events per CPU-second, all tables: promolake / naive Spark", 4, True, ratio(whole, "all", "naive Spark")),
        Goal("... beyond start-up", 4, True, beyond("all", "naive Spark")),
        Goal("events per CPU-second, common work: promolake / naive Spark", 4, True, ratio(whole, "common", "naive Spark")),
        Goal("events per CPU-second, common work: promolake / Flink SQL", 1, True, ratio(whole, "common", "Flink SQL")),
        Goal("... beyond start-up", 1, True, beyond("common", "Flink SQL")),
        Goal("events per CPU-second, common work: promolake / hand-written floor", 0.3, True, ratio(whole, "common", "hand-written floor")),
        Goal("... beyond start-up", 0.3, True, beyond("common", "hand-written floor")),
        Goal("event -> gold at 1,000/s, all tables, p50 in s", 0.8, False, _delay(results, "promolake", "all", "p50")),
        Goal("event -> gold at 1,000/s, all tables, p99 in s", 1.6, False, _delay(results, "promolake", "all", "p99")),
        Goal("p99 at 1,000/s, common work: promolake / naive Spark", 0.2, False, _delay_ratio(results, "naive Spark")),
        Goal("p99 at 1,000/s, common work: promolake / Flink SQL", 1.5, False, _delay_ratio(results, "Flink SQL")),
        Goal("CPU per event beyond start-up, all tables: 16x data / 1x", 1.1, False, _growth(results, 16, 1)),
        Goal("CPU per event beyond start-up, all tables: 16x keys / 1x", 1.6, False, _growth(results, 1, 16)),
        *[goal for one in results.of("endurance", engine="promolake", wrong=[]) for goal in _lasting(one)],
    ]


def _lasting(run: Record) -> list[Goal]:
    return [
        Goal("memory: growth in 10 minutes", 0.02, False, run["memory_slope"]),
        Goal("drift: late batches / early ones", 1.1, False, run["drift"]),
        Goal(f"... p99 in the last five of {run['minutes']:.0f} minutes, in s", 1.6, False, run["delays"][-1].get("p99")),
    ]


def _delay(results: Results, engine: str, work: str, share: str) -> float | None:
    found = [one["delays"][share] for one in results.of("latency", engine=engine, work=work, rate=1000.0) if not one["wrong"]]
    return median(found) if found else None


def _delay_ratio(results: Results, peer: str) -> float | None:
    ours, theirs = (_delay(results, engine, "common", "p99") for engine in ("promolake", peer))
    return ours / theirs if ours and theirs else None


def _growth(results: Results, data: int, keys: int) -> float | None:
    """Beyond start-up, or more data would always seem to cost less."""
    from bench.report import FEW, beyond_start

    scored = [one for one in results.of("backlog", engine="promolake", work="all") if not one["wrong"] and one["records"] != FEW]
    base = min((one["records"] for one in scored if one["scale"] == 1 and one["keys"] == 1), default=0)

    def cost(records: int, keys: int) -> float | None:
        costs = [beyond_start(results, one) for one in scored if one["records"] == records and one["keys"] == keys]
        return median(costs) if costs and None not in costs else None

    once, more = cost(base, 1), cost(base * data, keys)
    return more / once if once and more else None
