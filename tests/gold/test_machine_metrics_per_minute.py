"""Averages and exact percentiles, per host and over all hosts, whatever the order the samples come in."""

import random

import numpy as np
import pytest
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from drawn import drawn
from frames import assert_rows, at, computed, minute
from promolake.gold.machine_metrics_per_minute import ALL_HOSTS, FLOW, TABLE

SAMPLE = {"event_time": at("00:00:10"), "host": "web-1"}
NOT_MEASURED = {f"{name}_{figure}": None for name in ("cpu", "mem", "io") for figure in ("avg", "p75")}


def test_each_host_has_a_row_and_all_hosts_together_have_one(spark: SparkSession) -> None:
    samples = [
        SAMPLE | {"cpu": 10.0, "mem": 1.0},
        SAMPLE | {"cpu": 20.0},
        SAMPLE | {"cpu": 30.0, "host": "web-2"},
        SAMPLE | {"cpu": 40.0, "host": "web-2", "event_time": at("00:01:00")},
    ]
    memory = {"mem_avg": 1.0, "mem_p75": 1.0}
    expected = [
        minute("00:00:00") | NOT_MEASURED | {"host": "web-1", "sample_count": 2, "cpu_avg": 15.0, "cpu_p75": 17.5} | memory,
        minute("00:00:00") | NOT_MEASURED | {"host": "web-2", "sample_count": 1, "cpu_avg": 30.0, "cpu_p75": 30.0},
        minute("00:00:00") | NOT_MEASURED | {"host": ALL_HOSTS, "sample_count": 3, "cpu_avg": 20.0, "cpu_p75": 25.0} | memory,
        minute("00:01:00") | NOT_MEASURED | {"host": "web-2", "sample_count": 1, "cpu_avg": 40.0, "cpu_p75": 40.0},
        minute("00:01:00") | NOT_MEASURED | {"host": ALL_HOSTS, "sample_count": 1, "cpu_avg": 40.0, "cpu_p75": 40.0},
    ]
    assert_rows(computed(spark, FLOW, samples), spark, TABLE, expected)


LOADS = st.lists(st.floats(0, 100_000, allow_subnormal=False), min_size=1, max_size=30)


@pytest.fixture(scope="module")
def drawn_loads() -> dict[str, list[float]]:
    """Many lists of samples, each of a host of its own."""
    return {f"host-{n}": loads for n, loads in enumerate(drawn(LOADS, 100))}


def test_the_75th_percentile_is_exact_by_linear_interpolation(spark: SparkSession, drawn_loads: dict[str, list[float]]) -> None:
    samples = [SAMPLE | {"host": host, "cpu": load} for host, loads in drawn_loads.items() for load in loads]
    found = {row["host"]: row["cpu_p75"] for row in computed(spark, FLOW, samples).collect()}
    everything = [load for loads in drawn_loads.values() for load in loads]
    expected = {host: np.percentile(loads, 75, method="linear") for host, loads in (drawn_loads | {ALL_HOSTS: everything}).items()}
    assert found == {host: pytest.approx(value, rel=1e-12, abs=1e-12) for host, value in expected.items()}


def test_the_figures_are_the_same_to_the_last_bit_in_whatever_order_the_samples_come(
    spark: SparkSession, drawn_loads: dict[str, list[float]]
) -> None:
    samples = [
        SAMPLE | {"host": host, "cpu": load, "mem": load / 3, "io": load * 1e9} for host, loads in drawn_loads.items() for load in loads
    ]
    shuffled = random.Random(7).sample(samples, len(samples))
    one, other = (sorted(computed(spark, FLOW, rows).collect()) for rows in (samples, shuffled))
    assert one == other


def test_the_average_is_the_mean(spark: SparkSession, drawn_loads: dict[str, list[float]]) -> None:
    samples = [SAMPLE | {"host": host, "io": load} for host, loads in drawn_loads.items() for load in loads]
    found = {row["host"]: row["io_avg"] for row in computed(spark, FLOW, samples).collect()}
    assert {host: found[host] for host in drawn_loads} == {host: pytest.approx(np.mean(loads)) for host, loads in drawn_loads.items()}
