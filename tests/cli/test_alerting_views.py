"""Rules over views on the command line: check, backtest, cases of given rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from alerts.viewed import BUSIEST, CONVERSION, FRAME, LEADER, RUNNING, SALES, Lake, sale, start
from cli.conftest import Answer

Promolake = Callable[..., Answer]


@pytest.fixture
def rule_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "alerts.yaml"
    monkeypatch.setenv("PROMOLAKE_ALERTS__FILE", str(file))
    return file


@pytest.mark.parametrize("rule", [LEADER, CONVERSION, RUNNING, BUSIEST])
def test_check_takes_rules_over_views(rule: str, rule_file: Path, promolake: Promolake) -> None:
    rule_file.write_text(FRAME.replace("RULE", rule))
    assert "1 alert rules" in promolake("check").out


@pytest.mark.parametrize(
    ("rule", "old", "new", "said"),
    [
        (LEADER, "gold.top_products", "gold.top_people", "there is no table or view gold.top_people"),
        (LEADER, "unit_count", "units", "units"),
        (LEADER, "over: 5m, ", "", "needs `over`"),
        (LEADER, "over: 5m", "over: 30s", "needs `over`"),
        (LEADER, "by: [product_id]", "by: [product]", "product is no column"),
        (CONVERSION, "orders_per_view", "viewed_line_share", "What gold.attributed_orders adds comes too late for a rule"),
        (CONVERSION, "gold.conversion", "gold.visitors_per_day", "has no window_end"),
        (CONVERSION, "gold.conversion", "gold.funnel_per_minute", "gold.funnel_per_minute is a table, and `over` is for views"),
        (RUNNING, "value: sum(gmv_amount), expr: value >= 100, early: true", "no_data: 3m", "no_data is for tables"),
    ],
)
def test_check_refuses_what_a_view_has_not_with_file_and_line(
    rule: str, old: str, new: str, said: str, rule_file: Path, promolake: Promolake
) -> None:
    assert old in rule
    rule_file.write_text(FRAME.replace("RULE", rule.replace(old, new)))
    answer = promolake("check")
    assert answer.code != 0
    assert "alerts.yaml:5: " in answer.out
    assert said in answer.out


def test_a_backtest_over_a_view_says_what_the_stream_said(tmp_path: Path, home: Path, rule_file: Path, promolake: Promolake) -> None:
    lake = Lake(home, LEADER)
    for n in range(9):
        lake.batch(SALES, n, sale(n, "p", 30 if n < 5 else 1), sale(n, "q", 2))
    rule_file.write_text(FRAME.replace("RULE", LEADER))
    (found,) = json.loads(promolake("alerts", "backtest", "--rule", "Leader", "--json").out)
    told = [minute for _, _, minute in lake.alerts()]
    assert (found["labels"], found["starts_at"], found["ends_at"]) == ("product_id=p", *(start(minute).isoformat() for minute in told))
    page = tmp_path / "leader.html"
    assert promolake("alerts", "backtest", "--rule", "Leader", "--plot", str(page)).code == 0
    assert "product_id=p: 3 minutes" in page.read_text()


CASE = """
tests:
  - rule: Leader
    rows:
      - {as_of: "2026-11-11T00:00:00Z", span: 5 minutes, ranked_by: units, rank: 1, product_id: p, unit_count: UNITS}
      - {as_of: "2026-11-11T00:01:00Z", span: 5 minutes, ranked_by: units, rank: 1, product_id: q, unit_count: 10}
    alerts:
      - {status: firing, at: "2026-11-11T00:00:00Z", labels: {product_id: p}}
      - {status: resolved, at: "2026-11-11T00:01:00Z", labels: {product_id: p}}
"""


@pytest.mark.parametrize(("units", "code"), [(100, 0), (99, 7)])
def test_given_rows_of_a_view_are_compared_with_expected_alerts(
    units: int, code: int, tmp_path: Path, rule_file: Path, promolake: Promolake
) -> None:
    rule_file.write_text(FRAME.replace("RULE", LEADER))
    cases = tmp_path / "cases.yaml"
    cases.write_text(CASE.replace("UNITS", str(units)))
    assert promolake("alerts", "test", str(cases)).code == code
