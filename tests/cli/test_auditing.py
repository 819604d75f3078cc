"""What `promolake audit` prints, what it ends with, and what it does not start."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import promolake.engine.session
from promolake.engine.arrow import arrow_schema
from promolake.engine.lakehouse import Lakehouse, Txn
from promolake.engine.ledger import LEDGER
from promolake.engine.lock import writing
from promolake.gold.errors_per_minute import TABLE as ERRORS
from promolake.gold.gmv_per_minute import TABLE as GMV

NOW = datetime(2026, 11, 11, tzinfo=UTC)


def rows(table: Any, **columns: Any) -> pa.Table:
    return pa.Table.from_pylist([columns], schema=arrow_schema(table))


@pytest.fixture
def lake(home: Path) -> Lakehouse:
    lake = Lakehouse(home / "lake")
    lake.create([GMV, ERRORS, LEDGER])
    return lake


class NoSpark:
    def stop(self) -> None: ...


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`found(finding, ...)` lets the next audit find these, without Spark."""
    from promolake.cli import snapshots
    from promolake.quality.audit import Audit
    from promolake.quality.findings import Finding

    monkeypatch.setattr(promolake.engine.session, "session", lambda *_: NoSpark())
    monkeypatch.setattr(promolake.engine.session, "scan_session", lambda spark: spark)

    def find(*severities: str) -> None:
        broken = [Finding(GMV.name, 7, f"rule_{n}", "expect", "a", one, False, 9, 2, "2 of 9 rows") for n, one in enumerate(severities)]
        kept = Finding(GMV.name, 7, "unique:grain", "expect", "b", "critical", True, 9, 0)
        audit = Audit((*broken, kept), {"silver.orders": ("user_id",)}, {"silver.orders": 3.2})
        monkeypatch.setattr(snapshots, "audited", lambda *_: audit)

    return find


# --- what it ends with -----------------------------------------------------------------------------------------------------------


def test_an_audit_that_finds_nothing_broken_ends_well_and_says_where_the_pages_are(promolake, lake: Lakehouse, found, home: Path) -> None:
    found()
    answer = promolake("audit")
    assert answer.code == 0
    assert "1 of 1 expectations over 1 tables kept; 0 critical and 0 warnings." in answer.out
    assert str(home / "audits" / "docs" / "index.html") in answer.out
    assert "silver.orders does not hold these" in answer.out
    assert "silver.orders 3" in answer.out


def test_a_warning_is_shown_and_does_not_fail(promolake, lake: Lakehouse, found) -> None:
    found("warning")
    answer = promolake("audit")
    assert answer.code == 0
    assert "rule_0" in answer.out
    assert "0 critical and 1 warnings" in answer.out


def test_a_critical_expectation_that_is_broken_ends_the_audit_with_7(promolake, lake: Lakehouse, found) -> None:
    found("warning", "critical")
    answer = promolake("audit")
    assert answer.code == 7
    assert "2 of 9 rows" in answer.out
    assert answer.err.endswith("promolake: 1 critical expectations are broken, in gold.gmv_per_minute. See ops.audits.\n")


def test_for_machines_everything_is_told(promolake, lake: Lakehouse, found) -> None:
    found("critical")
    answer = promolake("audit", "--json")
    assert answer.code == 7
    told = json.loads(answer.out)
    assert [(one["expectation"], one["is_success"], one["unexpected_count"]) for one in told["findings"]] == [
        ("rule_0", False, 2), ("unique:grain", True, 0),
    ]  # fmt: skip
    assert told["skipped"] == {"silver.orders": ["user_id"]}
    assert told["page"].endswith("audits/docs/index.html")


# --- what is refused before Spark starts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--table", "gold.gmv_per_hour"], "No table gold.gmv_per_hour can be audited. Tables: silver.searches, "),
        (["--table", "orders"], "There is no table silver.orders in "),
    ],
)
def test_a_table_that_is_none_or_not_there_is_refused(promolake, lake: Lakehouse, arguments: list[str], said: str) -> None:
    answer = promolake("audit", *arguments)
    assert answer.code == 2
    assert said in answer.err


def test_an_empty_home_says_how_to_fill_it(promolake) -> None:
    answer = promolake("audit")
    assert answer.code == 2
    assert "holds no table yet. Fill it with" in answer.err


def test_a_second_audit_is_refused(lake: Lakehouse, home: Path) -> None:
    from promolake import settings as configuration
    from promolake.cli.snapshots import AUDITS, audited
    from promolake.core.errors import HomeInUse

    with writing(home, [AUDITS]), pytest.raises(HomeInUse, match=r"writes ops\.audits"):
        audited(configuration.load(home), None, (), NOW, None, print)


def test_no_other_command_loads_great_expectations() -> None:
    """Loading it takes seconds; `sql`, `status` and `check` answer in one."""
    code = "import sys; from promolake.cli import main; main(['--help']); sys.exit('great_expectations' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


# --- tables as of one moment -----------------------------------------------------------------------------------------------------

APP = "main@an-id"


def gmv(lake: Lakehouse, batch: int, app: str = f"{APP}:{GMV.name}") -> None:
    lake.append(GMV, rows(GMV, window_start=NOW, currency="CNY", category="shoes"), Txn(app, batch))


def book(lake: Lakehouse, batch: int) -> None:
    lake.append(LEDGER, rows(LEDGER, topic="shop.orders", read_count=1), Txn(f"{APP}:{LEDGER.name}", batch))


def test_between_two_batches_the_versions_are_of_one_moment(lake: Lakehouse) -> None:
    from promolake.cli.snapshots import moment

    gmv(lake, 3)
    book(lake, 3)
    versions, is_consistent = moment(lake, [GMV, ERRORS, LEDGER], [APP], patience=0)
    assert is_consistent
    assert versions == {GMV.name: lake.version(GMV), ERRORS.name: 0, LEDGER.name: lake.version(LEDGER)}


@pytest.mark.parametrize("step", ["", "#known"])
def test_a_batch_that_is_not_in_the_ledger_yet_is_noticed_in_either_commit_of_an_upsert(lake: Lakehouse, step: str) -> None:
    from promolake.cli.snapshots import moment

    book(lake, 3)
    gmv(lake, 4, f"{APP}:{GMV.name}{step}")
    assert not moment(lake, [GMV, ERRORS, LEDGER], [APP], patience=0)[1]
    book(lake, 4)
    assert moment(lake, [GMV, ERRORS, LEDGER], [APP], patience=0)[1]
