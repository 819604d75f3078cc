"""Rules in the micro-batch: each transition is written once, whatever dies, is replayed, or is started again."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from alerts.conftest import MIDNIGHT
from faults import Died
from faults import dies_before as dies
from promolake.alerts.tables import ALERTS, STATES
from promolake.alerts.watch import AlertWatch
from promolake.cli.watching import sources
from promolake.core.errors import SettingsError
from promolake.engine.arrow import arrow_schema
from promolake.engine.lakehouse import Lakehouse, Txn
from promolake.gold.requests_per_ip_per_minute import TABLE

RULES = """
groups:
  - name: tests
    rules:
      - alert: IpFlood
        table: gold.requests_per_ip_per_minute
        by: [ip]
        value: sum(request_count)
        expr: value > LIMIT
        early: true
        labels: {severity: page}
        annotations: {summary: "{{ labels.ip }} made {{ value | int }}"}
      - alert: Fall
        table: gold.requests_per_ip_per_minute
        value: sum(request_count)
        baseline: 5m
        expr: value < 0.5 * baseline
        for: 1m
route: {receiver: log}
receivers: [{name: log, channels: []}]
"""


class Lake:
    """A lake, its watcher, and batches of requests: minute, ip and how many."""

    def __init__(self, home: Path) -> None:
        home.mkdir(exist_ok=True)
        self.lake = Lakehouse(home / "lake")
        self.file = home / "alerts.yaml"
        self.file.write_text(RULES.replace("LIMIT", "100"))
        self.said: list[str] = []
        self.later = timedelta(hours=1)  # after midnight the batches are cut
        self.again()

    def again(self) -> None:
        """A new process."""
        self.watch = AlertWatch(self.file, sources(), sources(), self.said.append)

    def batch(self, number: int, *requests: tuple[int, str, int]) -> None:
        added = [
            {"window_start": MIDNIGHT + timedelta(minutes=m), "window_end": MIDNIGHT + timedelta(minutes=m + 1), "ip": ip}
            | {"request_count": n, "page_view_count": 0, "failed_count": 0}
            for m, ip, n in requests
        ]
        self.lake.upsert(TABLE, pa.Table.from_pylist(added, schema=arrow_schema(TABLE)), Txn("scan", number))
        minutes = sorted({row["window_start"] for row in added})
        taken_at = MIDNIGHT + self.later + timedelta(seconds=number)
        self.watch.look(self.lake, {TABLE.name: minutes}, taken_at, lambda table: Txn(f"scan:{table.name}", number))

    def alerts(self) -> list[tuple[str, str, int]]:
        """Rule, status, and the minute it is about, in the order of their batches."""
        rows = self.lake.read(ALERTS, ALERTS.column_names).sort_by([("ingested_at", "ascending"), ("alert_id", "ascending")]).to_pylist()
        return [(row["alert"], row["status"], _minute(row["ends_at"] or row["starts_at"])) for row in rows]


def _minute(time: datetime) -> int:
    return int((time.astimezone(UTC) - MIDNIGHT) / timedelta(minutes=1))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


def test_an_early_rule_fires_in_the_batch_that_crosses_and_is_resolved_when_a_cool_minute_is_over(lake: Lake) -> None:
    lake.batch(0, (0, "a", 60), (0, "b", 1))
    assert lake.alerts() == []
    lake.batch(1, (0, "a", 60))
    assert lake.alerts() == [("IpFlood", "firing", 0)]
    lake.batch(2, (0, "a", 60), (1, "a", 5))
    assert lake.alerts() == [("IpFlood", "firing", 0)], "the same firing is not told again"
    lake.batch(3, (2, "a", 5))
    assert lake.alerts() == [("IpFlood", "firing", 0), ("IpFlood", "resolved", 1)]
    row = next(row for row in lake.lake.read(ALERTS, ALERTS.column_names).to_pylist() if row["status"] == "firing")
    assert json.loads(row["annotations"]) == {"summary": "a made 120"}
    assert json.loads(row["labels"]) == {"alertname": "IpFlood", "ip": "a", "severity": "page"}
    assert "WHERE window_start >= TIMESTAMP '2026-11-11 00:00:00'" in row["rows_sql"]
    assert row["rows_sql"].endswith("ip = 'a'")


STORY = [
    [(0, "a", 120), (0, "b", 300)],
    [(1, "a", 90), (1, "b", 10)],
    [(1, "a", 30)],
    [(2, "b", 400), (2, "a", 1)],
    [(3, "a", 1), (2, "a", 200)],
    [(4, "a", 1), (0, "c", 500)],
    [(5, "a", 1)],
    [(6, "a", 300)],
    [(7, "a", 1)],
]


def told(lake: Lake) -> set[str]:
    return {row["alert_id"] for row in lake.lake.read(ALERTS, ("alert_id",)).to_pylist()}


@pytest.mark.parametrize("dies_before", [None, ALERTS.name, STATES.name, "the end"])
@pytest.mark.parametrize("new_process", [False, True])
def test_a_batch_that_dies_anywhere_and_is_replayed_tells_the_same_once(
    dies_before: str | None, new_process: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = Lake(tmp_path / "calm")
    stormy = Lake(tmp_path / "stormy")
    for number, batch in enumerate(STORY):
        calm.batch(number, *batch)
        if dies_before:
            with monkeypatch.context() as patch:
                dies(patch, stormy.lake, dies_before)
                if dies_before == "the end":
                    stormy.batch(number, *batch)
                else:
                    with pytest.raises(Died):
                        stormy.batch(number, *batch)
            stormy.again() if new_process else stormy.watch.forget()
        stormy.batch(number, *batch)
    assert len(calm.alerts()) > 5
    assert stormy.alerts() == calm.alerts()
    assert len(told(stormy)) == len(stormy.alerts()), "an id was written twice"


def test_the_control_without_transactions_would_tell_twice(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.batch(0, (0, "a", 120))
    lake.watch.forget()
    monkeypatch.setattr(lake.watch, "_read_standing", lambda _: {})
    lake.watch.look(lake.lake, {TABLE.name: [MIDNIGHT]}, MIDNIGHT, lambda table: Txn(f"unprotected:{table.name}", 0))
    assert lake.alerts() == [("IpFlood", "firing", 0)] * 2


def test_a_late_row_of_a_minute_that_is_done_with_wakes_nobody(lake: Lake) -> None:
    lake.batch(0, (0, "a", 1))
    lake.batch(1, (5, "a", 1))
    before = lake.alerts()
    lake.batch(2, (1, "a", 1000))
    assert lake.alerts() == before


def test_a_row_from_a_clock_that_is_ahead_ends_no_minute_and_silences_nothing(lake: Lake) -> None:
    lake.later = timedelta(seconds=30)
    lake.batch(0, (0, "a", 60), (9, "b", 1))
    lake.batch(1, (0, "a", 60), (9, "b", 500))
    assert lake.alerts() == [("IpFlood", "firing", 0)], "minute 9 is not there yet, and minute 0 is not over"
    lake.later = timedelta(minutes=10)
    lake.batch(2, (10, "c", 1))
    assert ("IpFlood", "firing", 9) in lake.alerts()


SILENCE = RULES.replace("LIMIT", "100").replace(
    "      - alert: Fall",
    "      - {alert: Silent, table: gold.requests_per_ip_per_minute, by: [ip], no_data: 3m}\n      - alert: Fall",
)


def test_when_every_source_falls_silent_the_clock_tells_and_the_first_row_resolves_it(lake: Lake) -> None:
    lake.file.write_text(SILENCE)
    lake.again()
    lake.later = timedelta(seconds=30)
    lake.batch(0, (0, "a", 1))

    def idle(minute: int) -> None:
        lake.watch.idle(lake.lake, MIDNIGHT + timedelta(minutes=minute, seconds=5), lambda table: Txn(f"scan#idle:{table.name}", minute))

    for minute in (1, 2, 3):
        idle(minute)
    assert lake.alerts() == []
    for minute in (4, 5, 6):
        idle(minute)
    assert lake.alerts() == [("Silent", "firing", 3)], "told once"
    lake.watch.forget()
    lake.later = timedelta(minutes=7)
    lake.batch(1, (7, "a", 1))
    lake.later = timedelta(minutes=8)
    lake.batch(2, (8, "a", 1))
    assert lake.alerts() == [("Silent", "firing", 3), ("Silent", "resolved", 7)]


def test_a_look_by_the_clock_that_dies_between_its_two_writes_tells_once(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.file.write_text(SILENCE)
    lake.again()
    lake.later = timedelta(seconds=30)
    lake.batch(0, (0, "a", 1))
    with monkeypatch.context() as patch:
        dies(patch, lake.lake, STATES.name)
        with pytest.raises(Died):
            lake.watch.idle(lake.lake, MIDNIGHT + timedelta(minutes=5), lambda table: Txn(f"idle:{table.name}", 5))
    assert lake.alerts() == [("Silent", "firing", 3)], "the fault did not happen where it should"
    lake.again()
    lake.watch.idle(lake.lake, MIDNIGHT + timedelta(minutes=6), lambda table: Txn(f"idle:{table.name}", 6))
    assert lake.alerts() == [("Silent", "firing", 3)]


def test_rules_over_tables_another_process_writes_are_left_to_it(lake: Lake) -> None:
    lake.watch = AlertWatch(lake.file, sources(), {"gold.gmv_per_minute"}, print)
    lake.batch(0, (0, "a", 500))
    assert lake.alerts() == []
    lake.again()
    lake.batch(1, (0, "a", 1))
    assert lake.alerts() == [("IpFlood", "firing", 0)]


def test_a_fall_is_measured_against_the_minutes_before_and_must_last(lake: Lake) -> None:
    for n in range(5):
        lake.batch(n, (n, "a", 50))
    lake.batch(5, (5, "a", 10))
    lake.batch(6, (6, "a", 10))
    assert lake.alerts() == [], "one low minute is not lasting"
    lake.batch(7, (7, "a", 50))
    assert lake.alerts() == [("Fall", "firing", 6)]


def test_thresholds_are_read_again_and_a_wrong_file_changes_nothing(lake: Lake) -> None:
    lake.batch(0, (0, "a", 60))
    assert lake.alerts() == []
    lake.file.write_text(RULES.replace("LIMIT", "no_such_column"))
    lake.batch(1, (0, "b", 1))
    assert "no_such_column" in lake.said[-1]
    lake.file.write_text(RULES.replace("LIMIT", "50") + "\n")
    lake.batch(2, (0, "b", 1))
    assert lake.alerts() == [("IpFlood", "firing", 0)]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("by: [ip]", "by: [user]", "user is no column"),
        ("sum(request_count)", "sum(", "syntax"),
        ("value > LIMIT", "value > 'x'", "x"),
        ("gold.requests_per_ip_per_minute", "gold.nothing", "no table"),
        ("{{ labels.ip }}", "{{ labels.ip", "expected token"),
    ],
)
def test_sql_and_templates_that_do_not_fit_are_refused_with_file_and_line(old: str, new: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "alerts.yaml"
    file.write_text(RULES.replace(old, new).replace("LIMIT", "1"))
    with pytest.raises(SettingsError, match=rf"alerts.yaml:(5|13): .*{said}"):
        AlertWatch(file, sources(), sources(), print)


def test_a_source_that_falls_silent_is_told_while_others_go_on(tmp_path: Path) -> None:
    rules = RULES.replace("value: sum(request_count)\n        expr: value > LIMIT\n        early: true", "no_data: 3m")
    lake = Lake(tmp_path)
    lake.file.write_text(rules)
    lake.again()
    for n in range(8):
        lake.batch(n, (n, "a", 1), *([(n, "b", 1)] if n < 2 else []))
    assert lake.alerts() == [("IpFlood", "firing", 4)]
    lake.batch(9, (8, "b", 1), (8, "a", 1))
    lake.batch(10, (9, "a", 1), (9, "b", 1))
    assert lake.alerts() == [("IpFlood", "firing", 4), ("IpFlood", "resolved", 8)]
