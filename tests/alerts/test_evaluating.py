"""What a rule is not shown, because it cannot matter, changes nothing it says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.conftest import MIDNIGHT
from promolake.alerts.evaluating import Standing, evaluated
from promolake.alerts.message import Transition
from promolake.alerts.relations import MINUTE
from promolake.alerts.rules import AlertsFile, load
from promolake.alerts.samples import Samples
from promolake.engine.arrow import arrow_schema
from promolake.gold.requests_per_ip_per_minute import TABLE

RULES = """
groups:
  - name: tests
    rules:
      - {alert: Early, table: gold.requests_per_ip_per_minute, by: [ip], value: sum(request_count), expr: value > 5, clear: value < 3,
         early: true, phases: {night: {expr: value > 7}}}
      - {alert: Slow, table: gold.requests_per_ip_per_minute, by: [ip], value: sum(request_count), expr: value > 5, for: 1m,
         keep_firing_for: 1m}
      - {alert: Silent, table: gold.requests_per_ip_per_minute, by: [ip], no_data: 2m}
      - {alert: All, table: gold.requests_per_ip_per_minute, value: sum(request_count), baseline: 3m, expr: value < baseline}
calendar: [{name: night, from: "2026-11-11T00:04:00+00:00", until: "2026-11-11T00:07:00+00:00"}]
route: {receiver: log}
receivers: [{name: log, channels: []}]
"""
COUNTS = st.lists(st.dictionaries(st.sampled_from(["a", "b", "", None]), st.integers(1, 9), max_size=4), min_size=1, max_size=9)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> AlertsFile:
    path = tmp_path_factory.mktemp("rules") / "alerts.yaml"
    path.write_text(RULES)
    return load(path)


@pytest.fixture
def samples() -> Iterator[Samples]:
    found = Samples()
    yield found
    found.close()


class ShownAll(Samples):
    """Hides nothing: the control."""

    def of(self, *asked: Any) -> list[Any]:
        return super().of(*asked[:5])


def told(file: AlertsFile, counts: list[dict[str | None, int]], looks: Iterable[int], samples: Samples) -> list[list[Transition]]:
    """What each rule says of minutes with so many requests by address, when it looks after these minutes only."""
    times = [(MIDNIGHT + n * MINUTE, ip, count) for n, by_ip in enumerate(counts) for ip, count in by_ip.items()]
    rows = [
        {"window_start": at, "window_end": at + MINUTE, "ip": ip, "request_count": count, "page_view_count": 0, "failed_count": 0}
        for at, ip, count in times
    ]
    whole = pa.Table.from_pylist(rows, arrow_schema(TABLE))
    said: list[list[Transition]] = []
    for rule in file.rules:
        standing, seen, found = Standing(), -1, []
        for last in looks:
            minutes = [MIDNIGHT + n * MINUTE for n in range(seen + 1, last + 1)]
            standing, new = evaluated(rule, file, TABLE, standing, minutes, minutes[-1], lambda *_: whole, samples)
            seen, found = last, found + new
        said.append(found)
    return said


@settings(max_examples=60, deadline=None)
@given(counts=COUNTS, data=st.data())
def test_samples_that_are_neither_hot_nor_known_change_no_transition(file: AlertsFile, counts: list[dict], data: st.DataObject) -> None:
    looks = sorted(data.draw(st.sets(st.integers(0, len(counts) - 1), min_size=1)))
    shown, everything = Samples(), ShownAll()
    try:
        assert told(file, counts, looks, shown) == told(file, counts, looks, everything)
    finally:
        shown.close()
        everything.close()


def test_an_alert_that_rises_and_falls_between_two_looks_is_told_with_its_end(file: AlertsFile, samples: Samples) -> None:
    early, *_ = told(file, [{"a": 1}, {"a": 9, "b": 4}, {"a": 1, "b": 4}, {"b": 1}, {"b": 1}], [0, 4], samples)
    assert [(one.status, one.labels["ip"], (one.ends_at or one.starts_at) - MIDNIGHT) for one in early] == [
        ("firing", "a", timedelta(minutes=1)),
        ("resolved", "a", timedelta(minutes=2)),
    ]


def test_only_hot_and_known_addresses_come_out_of_the_database(file: AlertsFile, samples: Samples) -> None:
    rows = [
        {"window_start": MIDNIGHT, "window_end": MIDNIGHT + MINUTE, "ip": ip, "request_count": n, "page_view_count": 0, "failed_count": 0}
        for ip, n in (("a", 9), ("b", 1), ("c", 1), (None, 1))
    ]
    rule = file.rules[0]
    asked = (rule, rule.in_phase(None), TABLE, pa.Table.from_pylist(rows, arrow_schema(TABLE)), [MIDNIGHT])
    for known, shown in (((), "a"), ([("b",)], "ab"), ([("",)], ["", "a"]), (None, ["", "a", "b", "c"])):
        assert sorted(one.labels[0] for one in samples.of(*asked, known)) == [*shown]
