"""What each of the engine's levers pays: the same records through the same flows, with each of them switched off alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import median

import pytest

from bench.levers import LEVERS, NONE
from day import START
from promolake.engine import kafka
from promolake.hallway import HALLWAY
from promolake.local.broker import Broker
from promolake.producers.promotion import PromotionDay
from promolake.producers.sending import Sender

RECORDS = 100_000  # more than a run takes
BETWEEN = 4  # levers between two runs with all of them
PAYS = 1.05


@pytest.fixture
def bootstrap(tmp_path: Path) -> Iterator[str]:
    broker = Broker(tmp_path / "broker")
    broker.start(print, tied=True)
    try:
        found = broker.status().bootstrap
        kafka.ensure_topics(found, [flow.topic.name for flow in HALLWAY.ingests])
        with Sender(found, print) as sender:
            for happening in islice(PromotionDay(11, 1_000.0, START), RECORDS):
                assert sender.send(happening.message)
        yield found
    finally:
        broker.stop()


@pytest.mark.bench
def test_each_lever_pays_a_twentieth_of_a_batchs_time_or_cpu(bootstrap: str, tmp_path: Path) -> None:
    """Prints the table for DECISIONS.md: time and CPU of a batch without the lever, over those of the runs with all of them."""
    order = [one for n, lever in enumerate(LEVERS) for one in ((NONE, lever) if n % BETWEEN == 0 else (lever,))] + [NONE]
    found: dict[str, list[dict[str, float]]] = {}
    for n, lever in enumerate(order):
        home = tmp_path / f"run-{n}"
        path = os.pathsep.join(filter(None, sys.path))
        command = [sys.executable, "-m", "bench.levers", lever, str(home), bootstrap]
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": path}, timeout=300, **streams)
        found.setdefault(lever, []).append(json.loads((home / "measured.json").read_text()))
        print(f"{n + 1}/{len(order)} {lever}: {found[lever][-1]}", flush=True)
    base = {figure: [one[figure] for one in found[NONE]] for figure in ("seconds", "cpu")}
    print(f"\nwith all: {_spread(base['seconds'])} s, {_spread(base['cpu'])} CPU-s a batch\n| lever off | time | CPU |\n|---|---|---|")
    ratios = {lever: [found[lever][0][figure] / median(base[figure]) for figure in base] for lever in LEVERS}
    for lever, (seconds, cpu) in sorted(ratios.items(), key=lambda one: -max(one[1])):
        print(f"| {lever} | {seconds:.2f} | {cpu:.2f} |")
    assert [lever for lever, pays in ratios.items() if max(pays) < PAYS] == []


def _spread(figures: list[float]) -> str:
    return f"{median(figures):.2f} ({min(figures):.2f} to {max(figures):.2f})"
