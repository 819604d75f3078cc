"""`promolake alerts`: what an operator types at midnight."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from alerts.far_end import Answer as Reply
from alerts.far_end import FarEnd, far_end
from cli.conftest import Answer
from promolake.engine.arrow import arrow_schema
from promolake.engine.lakehouse import Lakehouse, Txn
from promolake.gold.requests_per_ip_per_minute import TABLE

MIDNIGHT = datetime(2026, 11, 11, tzinfo=UTC)
Promolake = Callable[..., Answer]
CONFIG = """
groups:
  - name: traffic
    rules:
      - alert: IpFlood
        table: gold.requests_per_ip_per_minute
        by: [ip]
        value: sum(request_count)
        expr: value > 600
        clear: value < 200
route: {{receiver: hook}}
receivers: [{{name: hook, channels: [{{type: webhook, name: hook, base_url: "{url}"}}]}}]
"""


@pytest.fixture
def end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FarEnd]:
    with far_end() as server:
        file = tmp_path / "alerts.yaml"
        file.write_text(CONFIG.format(url=server.url))
        monkeypatch.setenv("PROMOLAKE_ALERTS__FILE", str(file))
        yield server


def test_a_silence_is_made_shown_and_ended(promolake: Promolake) -> None:
    made = promolake("alerts", "silence", "alertname=IpFlood", "ip=~10[.].*", "--for", "2h", "--comment", "load test", "--by", "me")
    assert made.code == 0
    (shown,) = json.loads(promolake("alerts", "silences", "--json").out)
    assert (shown["created_by"], shown["comment"]) == ("me", "load test")
    assert datetime.fromisoformat(shown["ends_at"]) - datetime.fromisoformat(shown["starts_at"]) == timedelta(hours=2)
    assert promolake("alerts", "unsilence", shown["id"]).code == 0
    assert json.loads(promolake("alerts", "silences", "--json").out) == []
    assert promolake("alerts", "unsilence", "nothing").code == 2


@pytest.mark.parametrize("arguments", [["ip"], ["ip=~["], ["ip=1", "--for", "soon"]])
def test_a_silence_that_is_none_is_refused(arguments: list[str], promolake: Promolake) -> None:
    answer = promolake("alerts", "silence", *arguments)
    assert answer.code == 2
    assert "Traceback" not in answer.err


def test_a_test_message_is_taken_or_the_refusal_is_said(promolake: Promolake, end: FarEnd) -> None:
    assert promolake("alerts", "send-test", "hook").code == 0
    assert end.requests[0].json["alerts"][0]["labels"] == {"alertname": "Test"}
    end.otherwise = Reply(404)
    refused = promolake("alerts", "send-test", "hook")
    assert (refused.code, "404" in refused.err) == (1, True)
    end.otherwise = Reply(500)
    assert promolake("alerts", "send-test", "hook").code == 3
    assert promolake("alerts", "send-test", "pigeon").code == 2


def _history(home: Path) -> None:
    counts = [10, 700, 700, 300, 100, 10, 900, 10]
    rows = [
        {"window_start": MIDNIGHT + timedelta(minutes=n), "window_end": MIDNIGHT + timedelta(minutes=n + 1), "ip": "192.0.2.1"}
        | {"request_count": count, "page_view_count": 0, "failed_count": 0}
        for n, count in enumerate(counts)
    ]
    Lakehouse(home / "lake").append(TABLE, pa.Table.from_pylist(rows, schema=arrow_schema(TABLE)), Txn("test", 0))


def test_a_backtest_says_when_how_often_and_how_long(promolake: Promolake, home: Path, end: FarEnd) -> None:
    _history(home)
    answer = promolake("alerts", "backtest", "--rule", "IpFlood", "--json")
    assert answer.code == 0
    found = [(one["labels"], one["starts_at"][11:16], one["ends_at"][11:16], one["minutes"]) for one in json.loads(answer.out)]
    assert found == [("ip=192.0.2.1", "00:01", "00:04", 3), ("ip=192.0.2.1", "00:06", "00:07", 1)]
    drawn = promolake("alerts", "backtest", "--rule", "IpFlood").out
    assert "fired 2 times, 4 minutes in all" in drawn
    assert "█" in drawn
    later = promolake("alerts", "backtest", "--rule", "IpFlood", "--since", "2026-11-11T00:05:00", "--json")
    assert [one["minutes"] for one in json.loads(later.out)] == [1]
    assert promolake("alerts", "backtest", "--rule", "Nothing").code == 2


def test_a_backtest_is_drawn_as_a_page_that_needs_no_network(promolake: Promolake, home: Path, end: FarEnd, tmp_path: Path) -> None:
    _history(home)
    page = tmp_path / "flood.html"
    assert promolake("alerts", "backtest", "--rule", "IpFlood", "--plot", str(page)).code == 0
    drawn = page.read_text()
    assert "ip=192.0.2.1: 4 minutes" in drawn
    assert not re.search(r"<(script|link)[^>]+(src|href)=", drawn), "fetched from somewhere"
    assert [shape["x0"][11:16] for shape in json.loads(re.search(r'"shapes":(\[.*?\])', drawn)[1])] == ["00:01", "00:06"]
    refused = promolake("alerts", "backtest", "--rule", "IpFlood", "--plot", str(tmp_path / "no" / "such.html"))
    assert (refused.code, "No such file" in refused.err) == (2, True)


CASES = """
tests:
  - name: a flood fires and cools down
    rule: IpFlood
    rows:
      - {window_start: "2026-11-11T00:00:00Z", ip: 192.0.2.1, request_count: 700}
      - {window_start: "2026-11-11T00:01:00Z", ip: 192.0.2.1, request_count: 10}
    alerts:
      - {status: firing, at: "2026-11-11T00:00:00Z", labels: {ip: 192.0.2.1}}
      - {status: resolved, at: "2026-11-11T00:01:00Z", labels: {ip: 192.0.2.1}}
  - name: less is no flood
    rule: IpFlood
    rows: [{window_start: "2026-11-11T00:00:00Z", ip: 192.0.2.1, request_count: COUNT}]
"""


@pytest.mark.parametrize(("count", "code"), [(600, 0), (601, 7)])
def test_given_rows_and_expected_alerts_are_compared(count: int, code: int, promolake: Promolake, tmp_path: Path, end: FarEnd) -> None:
    file = tmp_path / "cases.yaml"
    file.write_text(CASES.replace("COUNT", str(count)))
    answer = promolake("alerts", "test", str(file))
    assert answer.code == code
    assert ("FAILED" in answer.out) == (code == 7)
    assert "passed 1: a flood fires" in answer.out


def test_check_names_the_line_of_a_wrong_rule(promolake: Promolake, tmp_path: Path, end: FarEnd) -> None:
    file = tmp_path / "alerts.yaml"
    file.write_text(CONFIG.format(url=end.url).replace("sum(request_count)", "sum(requests)"))
    answer = promolake("check")
    assert answer.code != 0
    assert "alerts.yaml:5: IpFlood" in answer.out + answer.err
    assert "requests" in answer.out + answer.err


def test_an_empty_home_says_that_nothing_fires(promolake: Promolake) -> None:
    assert "Nothing fires." in promolake("alerts", "list").out
    assert json.loads(promolake("alerts", "history", "--json").out) == []
    assert json.loads(promolake("alerts", "deliveries", "--json").out) == {"channels": {}, "tries": []}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('rows: [{window_start: "2026-11-11T00:00:00Z", ip: 192.0.2.1, request_count: COUNT}]', "rows: []"),
        ("request_count: COUNT", "request_count: many"),
        ("rule: IpFlood", "rule: Nothing"),
        ("status: firing", "status: burning"),
        ("tests:", "cases:"),
    ],
)
def test_cases_that_are_none_are_refused_in_a_sentence(old: str, new: str, promolake: Promolake, tmp_path: Path, end: FarEnd) -> None:
    assert old in CASES
    file = tmp_path / "cases.yaml"
    file.write_text(CASES.replace(old, new).replace("COUNT", "1"))
    answer = promolake("alerts", "test", str(file))
    assert answer.code == 2
    assert "Traceback" not in answer.err
