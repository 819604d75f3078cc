"""The shipped CPU rules against labelled anomalies (Numenta Anomaly Benchmark): hits, misses and false alarms, as they are.

The files have a sample every five minutes; one sample is taken as one minute. `make test ARGS="-k nab -s"` prints the table.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from promolake.alerts.rules import Rule, load
from promolake.alerts.samples import reach
from promolake.cli.backtesting import fired, replayed
from promolake.engine.arrow import arrow_schema
from promolake.gold.machine_metrics_per_minute import TABLE

DATA = Path(__file__).parents[3] / "shared" / "data" / "metric-nab"
FILES = ("ec2_cpu_utilization_24ae8d", "ec2_cpu_utilization_5f5533", "ec2_cpu_utilization_fe7f93", "rds_cpu_utilization_cc0c53")
START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

EXPECTED = {
    # rule: per file hits, misses, false alarms
    "CpuHigh": dict(zip(FILES, [(0, 2, 0), (0, 2, 0), (0, 3, 0), (0, 2, 0)], strict=True)),
    "CpuJump": dict(zip(FILES, [(1, 1, 13), (1, 1, 0), (2, 1, 7), (1, 1, 0)], strict=True)),
}


def series(name: str) -> Iterator[tuple[str, float]]:
    with gzip.open(DATA / "realAWSCloudwatch" / f"{name}.csv.gz", "rt") as file:
        yield from ((row["timestamp"], float(row["value"])) for row in csv.DictReader(file))


def outcome(rule_name: str, name: str) -> tuple[int, int, int]:
    """Labelled windows in which the rule fired, windows in which it did not, and firings outside of any."""
    file = load(Path("conf/alerts.yaml"))
    rule = next(one for one in file.rules if one.alert == rule_name)
    samples = list(series(name))
    rows = [{"window_start": START + n * MINUTE, "host": name, "sample_count": 1, "cpu_p75": value} for n, (_, value) in enumerate(samples)]
    gold = pa.Table.from_pylist(rows, schema=arrow_schema(TABLE))
    end = START + len(samples) * MINUTE

    def between(rule: Rule, _table: object, minutes: Sequence[datetime]) -> pa.Table:
        low, high = minutes[0] - reach(rule), minutes[-1] + MINUTE
        first, last = max(0, int((low - START) / MINUTE)), max(0, int((high - START) / MINUTE))
        return gold.slice(first, last - first)

    episodes = fired(replayed(rule, file, TABLE, START, end, between), rule, end)
    places = {time: n for n, (time, _) in enumerate(samples)}
    labelled = json.loads((DATA / "combined_windows.json").read_text())[f"realAWSCloudwatch/{name}.csv"]
    windows = [tuple(places[edge[:19]] for edge in window) for window in labelled]
    spans = [
        (int((datetime.fromisoformat(one["starts_at"]) - START) / MINUTE), int((datetime.fromisoformat(one["ends_at"]) - START) / MINUTE))
        for one in episodes
    ]
    hits = sum(any(low <= last and first <= high for first, last in spans) for low, high in windows)
    false_alarms = sum(not any(low <= last and first <= high for low, high in windows) for first, last in spans)
    return hits, len(windows) - hits, false_alarms


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the labelled metrics are not at {DATA}")
@pytest.mark.parametrize("rule", EXPECTED)
def test_the_shipped_cpu_rules_on_nab_find_and_miss_what_the_readme_says(rule: str) -> None:
    found = {name: outcome(rule, name) for name in FILES}
    for name, (hits, misses, false_alarms) in found.items():
        print(f"{rule:8} {name:28} hits {hits} misses {misses} false alarms {false_alarms}")
    assert found == EXPECTED[rule]
