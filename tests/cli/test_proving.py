"""What `verify` answers and how it ends; what it finds is tests/engine/test_verifying.py's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from promolake.cli import proving
from promolake.engine.comparing import Finding
from promolake.engine.lakehouse import Lakehouse
from promolake.engine.lock import writing
from promolake.hallway import HALLWAY

RIGHT = Finding("batch from bronze", "gold.gmv_per_minute", 1234)
WRONG = Finding("SQL from silver", "gold.gmv_per_minute", 1234, 2, "2 changed; window_start 2026-11-11T00:00:00Z, currency '[CNY]'")
BEHIND = Finding("batch from bronze", "gold.attributed_orders", 9, 1, "1 missing; event_time 2026-11-11T00:00:00Z: missing", behind=True)


class Verifier:
    """A double that finds what it is told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.finds = [RIGHT]
        self.asked = []

    def verify(self, scope, since, say) -> list[Finding]:
        say("looking")
        self.asked.append((scope, since))
        return self.finds


@pytest.fixture
def verifier(home: Path, monkeypatch: pytest.MonkeyPatch) -> Verifier:
    Lakehouse(home / "lake").create(HALLWAY.tables)
    double = Verifier()

    @contextmanager
    def opened(settings) -> Iterator[Verifier]:
        yield double

    monkeypatch.setattr(proving, "_verifier", opened)
    return double


def cells(out: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in out.splitlines() if line.startswith("│")]


def test_a_lake_that_agrees_is_a_table_and_exit_code_0(promolake, verifier: Verifier) -> None:
    answer = promolake("verify")
    assert answer.code == 0
    assert cells(answer.out) == [["batch from bronze", "gold.gmv_per_minute", "1,234", "agrees", "", ""]]
    assert answer.err == "looking\n"


def test_any_difference_is_exit_code_7_and_is_shown_with_its_example(promolake, verifier: Verifier) -> None:
    verifier.finds = [RIGHT, WRONG]
    answer = promolake("verify")
    assert answer.code == 7
    assert cells(answer.out)[1] == ["SQL from silver", "gold.gmv_per_minute", "1,234", "DIFFERS", "2", WRONG.example]
    assert "promolake: 1 of 2 checks differ. `promolake rebuild TABLE`" in answer.err


def test_what_has_yet_to_be_settled_is_told_and_is_no_difference(promolake, verifier: Verifier) -> None:
    verifier.finds = [BEHIND]
    answer = promolake("verify")
    assert answer.code == 0
    assert cells(answer.out)[0][3] == "not settled"
    assert "gold.attributed_orders: what the stream held back or left out as late is settled by `promolake run --once`" in answer.err


def test_json_has_every_check_and_the_same_exit_code(promolake, verifier: Verifier) -> None:
    verifier.finds = [RIGHT, WRONG, BEHIND]
    answer = promolake("verify", "--json")
    assert answer.code == 7
    told = json.loads(answer.out)
    assert told["agrees"] is False
    assert [check["result"] for check in told["checks"]] == ["agrees", "DIFFERS", "not settled"]
    assert told["checks"][1]["subject"] == "gold.gmv_per_minute"
    assert (told["checks"][1]["rows"], told["checks"][1]["differing"], told["checks"][1]["example"]) == (1234, 2, WRONG.example)
    verifier.finds = [RIGHT]
    assert json.loads(promolake("verify", "--json").out)["agrees"] is True


def test_tables_and_a_time_are_handed_on(promolake, verifier: Verifier) -> None:
    assert promolake("verify", "--table", "gmv_per_minute", "--table", "silver.views", "--since", "2026-11-11T00:00:00+08:00").code == 0
    ((scope, since),) = verifier.asked
    assert ([flow.table.name for flow in scope.gold], scope.silver) == (["gold.gmv_per_minute"], frozenset({"silver.views"}))
    assert since == datetime(2026, 11, 11, tzinfo=timezone(timedelta(hours=8)))
    assert promolake("verify", "--since", "2026-11-11").code == 0
    assert verifier.asked[1][1] == datetime(2026, 11, 11, tzinfo=UTC)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--table", "gold.gmv"], "There is no table gold.gmv. Tables: bronze.shop_searches, "),
        (["--since", "noon"], "--since noon is no ISO time."),
    ],
)
def test_what_cannot_be_verified_is_exit_code_2(promolake, verifier: Verifier, options: list[str], said: str) -> None:
    answer = promolake("verify", *options)
    assert answer.code == 2
    assert said in answer.err
    assert verifier.asked == []


def test_an_empty_home_says_how_to_fill_it_and_stays_empty(promolake, home: Path) -> None:
    answer = promolake("verify")
    assert answer.code == 2
    assert "holds no table yet. Fill it with" in answer.err
    assert not home.exists()


def test_while_a_stream_runs_verify_is_refused_before_spark_starts(promolake, home: Path) -> None:
    Lakehouse(home / "lake").create(HALLWAY.tables)
    with writing(home, HALLWAY.tables[:1]):
        answer = promolake("verify")
    assert answer.code == 4
    assert f"writes {HALLWAY.tables[0].name} in" in answer.err
    assert "starting Spark" not in answer.err
    assert "No stream may be running" in " ".join(promolake("verify", "--help").out.split())
