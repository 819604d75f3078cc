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
PAYS = 1.05
FIGURES = {"seconds": "time of a batch", "cpu": "CPU of a batch", "start": "time to the first batch"}


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
def test_each_lever_pays_a_twentieth_of_time_or_cpu(bootstrap: str, tmp_path: Path) -> None:
    """Prints the table for DECISIONS.md: a run without the lever over the mean of those with all of them just before and after it."""
    order = [NONE, *(one for lever in LEVERS for one in (lever, NONE))]
    found: list[dict[str, float]] = []
    for n, lever in enumerate(order):
        found.append(run(lever, tmp_path / f"run-{n}", bootstrap))
        print(f"{n + 1}/{len(order)} {lever}: {found[n]}", flush=True)
    ratios = {
        lever: {name: 2 * found[n][name] / (found[n - 1][name] + found[n + 1][name]) for name in FIGURES}
        for n, lever in enumerate(order)
        if lever != NONE
    }
    print(f"\n| switched off alone | {' | '.join(FIGURES.values())} |\n|{'---|' * (len(FIGURES) + 1)}")
    for lever, row in sorted(ratios.items(), key=lambda one: -max(one[1].values())):
        print(f"| {lever} | {' | '.join(f'{row[name]:.2f}' for name in FIGURES)} |")
    for name, words in FIGURES.items():
        plain = [one[name] for one, lever in zip(found, order, strict=True) if lever == NONE]
        print(f"with all, {words}: {median(plain):.2f} ({min(plain):.2f} to {max(plain):.2f}) s")
    assert [lever for lever, row in ratios.items() if max(row.values()) < PAYS] == []


def run(lever: str, home: Path, bootstrap: str) -> dict[str, float]:
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "bench.levers", lever, str(home), bootstrap]
    subprocess.run(command, check=True, env=variables, timeout=300, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return json.loads((home / "measured.json").read_text())
