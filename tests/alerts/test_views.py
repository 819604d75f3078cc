"""Rules over views: what a view said when a minute ended, of a bounded stretch of its tables, the same whenever it is asked again."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from alerts.conftest import MIDNIGHT
from alerts.viewed import BUSIEST, CONVERSION, FUNNEL, GMV, LEADER, REQUESTS, RUNNING, SALES, Lake, sale, start, visit
from faults import Died
from faults import dies_before as dies
from promolake.alerts.tables import ALERTS, STATES
from promolake.core.table import Table
from promolake.engine.arrow import arrow_schema
from promolake.engine.lakehouse import Txn
from promolake.gold.attributed_orders import TABLE as ATTRIBUTED
from promolake.serving.sql import Reader


def test_a_ranking_of_five_minutes_fires_in_the_minute_its_sum_crosses(tmp_path: Path) -> None:
    lake = Lake(tmp_path, LEADER)
    for n in range(9):
        lake.batch(SALES, n, sale(n, "p", 30 if n < 5 else 1), sale(n, "q", 2))
    assert lake.alerts() == [("firing", "p", 3), ("resolved", "p", 6)], "30 + 30 + 30 + 30 in minute 3, 30 + 30 + 1 + 1 + 1 in minute 6"


def test_a_ratio_is_compared_with_what_the_view_said_of_the_minutes_before(tmp_path: Path) -> None:
    lake = Lake(tmp_path, CONVERSION)
    for n, orders in enumerate([10, 12, 11, 4, 10, 1]):
        lake.batch(FUNNEL, n, visit(n, 100, orders))
    assert lake.alerts() == [("firing", "", 3), ("resolved", "", 4)]


def test_an_early_rule_sees_a_running_total_cross_within_its_minute(tmp_path: Path) -> None:
    lake = Lake(tmp_path, RUNNING)
    for n, amount in enumerate([40, 40, 40]):
        lake.batch(GMV, n, {"minute": n // 2, "currency": "CNY", "channel": "app", "gmv_amount": amount})
    assert lake.alerts() == [("firing", "CNY", 1)]


def test_the_busiest_address_of_an_hour_is_found_before_the_hour_is_over(tmp_path: Path) -> None:
    lake = Lake(tmp_path, BUSIEST)
    for n in range(3):
        lake.batch(REQUESTS, n, {"minute": n, "ip": "a", "request_count": 40}, {"minute": n, "ip": "b", "request_count": 39})
    assert lake.alerts() == [("firing", "a", 2)]


def test_what_lies_further_back_than_over_is_neither_read_nor_counted(tmp_path: Path) -> None:
    lake = Lake(tmp_path, RUNNING.replace("1h", "2m"))
    for n in range(6):
        lake.asked.clear()
        lake.batch(GMV, n, {"minute": n, "currency": "CNY", "channel": "app", "gmv_amount": 40})
        (asked,) = [(low, high) for name, low, high in lake.asked if name == GMV.name]
        assert asked == (start(max(n - 2, -1)), start(n + 1))
    assert lake.alerts() == [], "40 + 40 in two minutes, 240 in all"


def test_a_view_is_asked_only_when_a_table_it_reads_changed(tmp_path: Path) -> None:
    lake = Lake(tmp_path, CONVERSION)
    for n in range(3):
        lake.batch(GMV, n, {"minute": n, "currency": "CNY", "channel": "app", "gmv_amount": 1})
    assert lake.asked == []
    lake.batch(FUNNEL, 3, visit(3, 1, 1))
    lake.batch(FUNNEL, 4, visit(4, 1, 1))
    assert FUNNEL.name in {name for name, _, _ in lake.asked}


def test_views_of_tables_another_process_writes_are_left_to_it(tmp_path: Path) -> None:
    lake = Lake(tmp_path, RUNNING, ours={FUNNEL.name})
    lake.batch(GMV, 0, {"minute": 0, "currency": "CNY", "channel": "app", "gmv_amount": 500})
    assert lake.alerts() == []


@pytest.mark.parametrize("dies_before", [ALERTS.name, STATES.name, "the end"])
def test_a_replayed_batch_says_the_same_once(dies_before: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calm, stormy = Lake(tmp_path / "calm", LEADER), Lake(tmp_path / "stormy", LEADER)
    for n in range(12):
        rows = (sale(n, "p", 30 if n < 5 else 1), sale(n, "q", 40 if n > 6 else 1))
        calm.batch(SALES, n, *rows)
        with monkeypatch.context() as patch:
            dies(patch, stormy.lake, dies_before)
            with nullcontext() if dies_before == "the end" else pytest.raises(Died):
                stormy.batch(SALES, n, *rows)
        stormy.again()
        stormy.batch(SALES, n, *rows)
    assert len(calm.alerts()) > 2
    assert stormy.alerts() == calm.alerts()
    ids = stormy.lake.read(ALERTS, ("alert_id",))["alert_id"].to_pylist()
    assert len(set(ids)) == len(ids)


def test_what_a_join_adds_when_the_minute_is_long_over_changes_nothing(tmp_path: Path) -> None:
    calm, joined = Lake(tmp_path / "calm", CONVERSION), Lake(tmp_path / "joined", CONVERSION)
    for n, orders in enumerate([10, 12, 11, 4, 10, 1]):
        calm.batch(FUNNEL, n, visit(n, 100, orders))
        line = dict.fromkeys(ATTRIBUTED.column_names) | {"event_id": str(n), "event_time": MIDNIGHT + timedelta(minutes=n)}
        joined.lake.upsert(ATTRIBUTED, pa.Table.from_pylist([line], schema=arrow_schema(ATTRIBUTED)), Txn("join", n))
        joined.batch(FUNNEL, n, visit(n, 100, orders))
    assert joined.alerts() == calm.alerts() != []
    assert ATTRIBUTED.name not in {name for name, _, _ in joined.asked}


@pytest.mark.parametrize(
    ("rule", "table", "rows"),
    [
        (LEADER, SALES, [[sale(n, "p", 30), sale(n, "q", 2)] for n in range(9)]),
        (CONVERSION, FUNNEL, [[visit(n, 100, orders)] for n, orders in enumerate([10, 12, 11, 4, 10])]),
        (RUNNING, GMV, [[{"minute": n, "currency": "CNY", "channel": "app", "gmv_amount": 40}] for n in range(5)]),
        (BUSIEST, REQUESTS, [[{"minute": n, "ip": "a", "request_count": 40}] for n in range(5)]),
    ],
)
def test_the_sql_of_a_firing_shows_the_rows_behind_it_when_the_promotion_has_gone_on(
    rule: str, table: Table, rows: list[list[dict[str, Any]]], tmp_path: Path
) -> None:
    lake = Lake(tmp_path, rule)
    lake.lake.create([ATTRIBUTED])
    for n, batch in enumerate(rows):
        lake.batch(table, n, *batch)
    fired = [row for row in lake.lake.read(ALERTS, ALERTS.column_names).to_pylist() if row["status"] == "firing"]
    assert fired
    with Reader(lake.lake.root) as reader:
        for row in fired:
            shown = reader.query(row["rows_sql"]).to_pylist()
            figures = [figure for one in shown for figure in one.values() if not isinstance(figure, (datetime, str))]
            assert len(shown) == 1
            assert row["value"] in [float(figure) for figure in figures if figure is not None]
