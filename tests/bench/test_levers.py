"""What each of the engine's levers pays, and what a table more costs: the same records through the same flows, with each switched alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import pytest

from bench.dataset import troubled_day
from bench.levers import LEVERS, NONE, ONE_MORE

RECORDS = 100_000  # more than a run takes
PAYS = 1.05
ONE_MORE_COSTS = 1.20
FIGURES = {"seconds": "time of a batch", "cpu": "CPU of a batch", "start": "time to the first batch"}


@pytest.fixture
def bootstrap(tmp_path: Path) -> Iterator[str]:
    with troubled_day(tmp_path / "broker", 1_000.0, RECORDS, print) as found:
        yield found


@pytest.mark.bench
def test_each_lever_pays_a_twentieth_of_time_or_cpu(bootstrap: str, tmp_path: Path) -> None:
    """Prints the table for DECISIONS.md: a run without the lever over the mean of those with all of them just before and after it."""
    ratios = compared(LEVERS, tmp_path, bootstrap)
    assert [lever for lever, (row,) in ratios.items() if max(row.values()) < PAYS] == []


@pytest.mark.bench
def test_one_more_gold_table_costs_at_most_a_fifth_more_cpu(bootstrap: str, tmp_path: Path) -> None:
    """The median of three runs with it, each over the mean of those without it just before and after."""
    rows = compared([ONE_MORE] * 3, tmp_path, bootstrap)[ONE_MORE]
    assert median(row["cpu"] for row in rows) <= ONE_MORE_COSTS


def compared(levers: Sequence[str], home: Path, bootstrap: str) -> dict[str, list[dict[str, float]]]:
    """Runs with each lever between runs with nothing switched; prints and returns the ratios."""
    order = [NONE, *(one for lever in levers for one in (lever, NONE))]
    found: list[dict[str, float]] = []
    for n, lever in enumerate(order):
        found.append(run(lever, home / f"run-{n}", bootstrap))
        print(f"{n + 1}/{len(order)} {lever}: {found[n]}", flush=True)
    ratios: dict[str, list[dict[str, float]]] = {}
    for n, lever in enumerate(order):
        if lever != NONE:
            ratio = {name: 2 * found[n][name] / (found[n - 1][name] + found[n + 1][name]) for name in FIGURES}
            ratios.setdefault(lever, []).append(ratio)
    print(f"\n| switched alone | {' | '.join(FIGURES.values())} |\n|{'---|' * (len(FIGURES) + 1)}")
    for lever, row in sorted(((lever, row) for lever, rows in ratios.items() for row in rows), key=lambda one: -max(one[1].values())):
        print(f"| {lever} | {' | '.join(f'{row[name]:.2f}' for name in FIGURES)} |")
    for name, words in FIGURES.items():
        plain = [one[name] for one, lever in zip(found, order, strict=True) if lever == NONE]
        print(f"with all, {words}: {median(plain):.2f} ({min(plain):.2f} to {max(plain):.2f}) s")
    return ratios


def run(lever: str, home: Path, bootstrap: str) -> dict[str, float]:
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "bench.levers", lever, str(home), bootstrap]
    subprocess.run(command, check=True, env=variables, timeout=300, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return json.loads((home / "measured.json").read_text())
