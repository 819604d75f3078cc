"""Event -> visible in gold: a live engine under open-loop load, and an outside reader that polls its table."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from bench.dataset import broker_with_topics
from bench.engines.engine import REPOSITORY, Engine, Place, Watch, Work
from bench.machine import load
from bench.measuring import Metered
from bench.truth import held, judged
from promolake.cli.freshness import quantile
from promolake.engine.kafka import producer
from promolake.producers import clock
from promolake.producers.simulator import sales_file

READY_SECONDS = 300.0
POLL_SECONDS = 0.05
SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True)
class Delays:
    """One run under load. Delays in seconds, of marks 50 ms apart, from the intended time of sending."""

    engine: str
    work: Work
    rate: float
    seconds: float
    marks: int
    delays: dict[str, float]
    start_s: float
    cpu_per_s: float
    peak_memory: int
    load_before: float
    wrong: list[str]


@contextmanager
def alive(engine: Engine, work: Work, home: Path, say: Callable[[str], None]) -> Iterator[tuple[Place, Metered, float]]:
    """The engine running over empty topics, ready to read; also how long that took. The home is removed at the end."""
    home.mkdir(parents=True)
    with broker_with_topics(home / "kafka", say) as bootstrap:
        place = Place(home, bootstrap, work)
        began = time.monotonic()
        with Metered(engine.command(place, "live"), place.log, REPOSITORY, engine.environment(place)) as run:
            if not until(lambda: engine.is_ready(place) or not run.alive, READY_SECONDS) or not run.alive:
                raise RuntimeError(f"{engine.name} did not start: {place.log.read_text(errors='replace').strip()[-300:]}")
            yield place, run, time.monotonic() - began
    shutil.rmtree(home)


def under_load(
    engine: Engine, work: Work, rate: float, warm_s: float, seconds: float, drain_s: float, home: Path, say: Callable[[str], None]
) -> Delays:
    """Delays of what is sent in `seconds` after `warm_s` of warm-up; what is not visible `drain_s` after the end is no score."""
    before = load()
    with alive(engine, work, home, say) as (place, run, start_s), closing(engine.watch(place)) as watch:
        began, first = time.time(), run.take()
        report = simulate(place, rate, warm_s + seconds)
        used = run.take()
        wrong = untrue(engine, place, run, watch, report["truth"], drain_s)
        found = watch.delays(sales_file(books(place)), 0, began + warm_s)
        cpu = (used.cpu - first.cpu) / (used.at - first.at)
        memory = run.peak_memory
    return Delays(engine.name, work, rate, seconds, len(found), figures(found), start_s, cpu, memory, before, wrong)


def simulate(place: Place, rate: float, seconds: float) -> dict[str, Any]:
    """Sends a clean day in real time from a process of its own; returns its books."""
    report = books(place)
    options = ["--rate", str(rate), "--seconds", str(seconds), "--no-trouble", "--report", str(report)]
    environment = dict(os.environ) | {"PROMOLAKE_KAFKA__BOOTSTRAP": place.bootstrap, "PROMOLAKE_CONF": str(REPOSITORY / "conf")}
    command = [sys.executable, "-m", "promolake.cli", "--home", str(place.home / "sender"), "simulate", *options]
    with Metered(command, place.home / "sender.log", REPOSITORY, environment) as sender:
        sender.wait(seconds + 120)
    _close_windows(place.bootstrap)
    return json.loads(report.read_text())


def books(place: Place) -> Path:
    """The sender's books of a run."""
    return place.home / "sent.json"


def figures(ascending: list[float]) -> dict[str, float]:
    """Seconds: the shares of SHARES, and the most; nothing of no delays."""
    return {name: quantile(ascending, share) for name, share in SHARES.items()} | {"max": ascending[-1]} if ascending else {}


def visible(watch: Watch, truth: dict[str, Any], seconds: float) -> bool:
    return until(lambda: watch.total >= _sold(truth), seconds)


def untrue(engine: Engine, place: Place, run: Metered, watch: Watch, truth: dict[str, Any], drain_s: float) -> list[str]:
    """Where gold is not what was sent, in sentences, `drain_s` after the last was sent; returns as soon as there is nothing to say."""
    if not run.alive or not visible(watch, truth, drain_s):
        return [f"{watch.total} of {_sold(truth)} sales visible {drain_s:.0f} s after the last was sent"]
    return _settled(lambda: judged(lambda: _differences(engine, place, truth)), drain_s)


def until(condition: Callable[[], object], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _settled(differences: Callable[[], list[str]], seconds: float) -> list[str]:
    """What still differs after so long: with a query per table, one may show its figures long before another."""
    deadline = time.monotonic() + seconds
    while (found := differences()) and time.monotonic() < deadline:
        time.sleep(1)
    return found


def _sold(truth: dict[str, Any]) -> int:
    return sum(one["sale_count"] for one in truth["orders"].values())


def _close_windows(bootstrap: str) -> None:
    """A last placed order per partition, a minute on: it sells nothing, but moves the watermark of engines that wait for one."""
    at = clock.iso_china(int(time.time() * 1000) + 61_000)
    line = {"order_id": "last", "line_number": 1, "product_id": "p1", "category": "toys", "quantity": 1, "unit_price": "1.00"}
    line |= {"currency": "CNY", "status": "PLACED", "event_time": at}
    sending = producer(bootstrap)
    for partition in (0, 1):
        sending.send("shop.orders", json.dumps({"event_id": f"last-{partition}"} | line).encode(), b"last", partition=partition)
    sending.flush(timeout=30)
    sending.close(timeout=5)


def _differences(engine: Engine, place: Place, truth: dict[str, Any]) -> list[str]:
    """The gate of a live run: GMV of every minute, and units of every product, against the sender's books."""
    gmv: dict[tuple[int, str], Decimal] = {}
    for minute, amounts in truth["gmv_amount_per_minute"].items():
        start = int(datetime.fromisoformat(minute).timestamp())
        gmv |= {(start, currency): Decimal(amount) for currency, amount in amounts.items()}
    found = held("gmv_per_minute", engine.rows(place, "gold", "gmv_per_minute"))
    units: dict[tuple[str, str], int] = {}
    products = held("sales_per_product_per_minute", engine.rows(place, "gold", "sales_per_product_per_minute"))
    for (_, *product), (_, count) in products.items():
        units[tuple(product)] = units.get(tuple(product), 0) + count
    sold = {(currency, one): it["unit_count"] for currency, of in truth["sales_per_product"].items() for one, it in of.items()}
    differs = {"gmv_per_minute": {at: amount for at, (amount, _) in found.items()} != gmv, "sales_per_product_per_minute": units != sold}
    return [f"{table} differs from what was sent" for table, wrong in differs.items() if wrong]
