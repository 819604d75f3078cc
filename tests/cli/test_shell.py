"""`promolake sql` without a statement: a shell in a real terminal, and what is piped in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pexpect
import pyarrow as pa
import pytest

from promolake.engine.arrow import arrow_schema
from promolake.engine.lakehouse import Lakehouse, Txn
from promolake.gold.sales_per_product_per_minute import TABLE as SALES

MIDNIGHT = datetime(2026, 11, 11, tzinfo=UTC)
PROMPT = "promolake>"
FOR_EVER = "SELECT COUNT(*) FROM range(1000000) AS a, range(1000000) AS b WHERE a.range * b.range % 7 = 3;"


@pytest.fixture
def sql(home: Path) -> list[str]:
    """The command, over a lake in which p1 was sold."""
    row = {"window_start": MIDNIGHT, "window_end": MIDNIGHT + timedelta(minutes=1), "currency": "CNY"}
    row |= {"product_id": "p1", "sales_amount": Decimal(5), "unit_count": 3, "sale_count": 1}
    Lakehouse(home / "lake").upsert(SALES, pa.Table.from_pylist([row], schema=arrow_schema(SALES)), Txn("test", 0))
    return [sys.executable, "-m", "promolake.cli", "--home", str(home), "sql"]


@pytest.fixture
def terminal(sql: list[str]) -> Iterator[pexpect.spawn]:
    environment = {**os.environ, "PROMPT_TOOLKIT_NO_CPR": "1"}  # pexpect does not answer where the cursor is
    shell = pexpect.spawn(sql[0], sql[1:], encoding="utf-8", timeout=30, dimensions=(40, 200), env=environment)
    shell.expect_exact(PROMPT)
    yield shell
    shell.close(force=True)


def test_a_person_completes_a_table_with_tab_and_is_answered(terminal: pexpect.spawn) -> None:
    terminal.send("SELECT MAX(unit_count) + 4000 AS units FROM top_prod\t")
    terminal.expect_exact("gold.top_products")
    terminal.send(";\r")
    terminal.expect_exact("4003")
    terminal.expect_exact(PROMPT)
    terminal.sendeof()
    terminal.expect_exact(pexpect.EOF)
    assert terminal.wait() == 0


def test_ctrl_c_interrupts_the_running_query_and_the_shell_goes_on(terminal: pexpect.spawn, until: Callable[..., None]) -> None:
    terminal.send(f"{FOR_EVER}\r")
    terminal.expect_exact("\x1b[?2004l")  # the prompt has let go of the terminal

    def interrupted() -> bool:
        terminal.sendintr()
        return terminal.expect_exact(["The query was interrupted.", pexpect.TIMEOUT], timeout=0.5) == 0

    until(interrupted)
    terminal.expect_exact(PROMPT)
    terminal.send("SELECT 4000 + 2 AS n;\r")
    terminal.expect_exact("4002")
    terminal.send("\\q\r")
    terminal.expect_exact(pexpect.EOF)
    assert terminal.wait() == 0


def test_piped_statements_are_answered_and_a_failing_one_is_the_exit_code(sql: list[str]) -> None:
    good = subprocess.run(
        [*sql, "--format", "csv"], input="SELECT product_id FROM gold.top_products LIMIT 1", capture_output=True, text=True
    )
    assert (good.returncode, good.stdout, good.stderr) == (0, "product_id\np1\n", "")
    bad = subprocess.run([*sql, "--format", "csv"], input="SELECT 1 AS a; SELEC 2; SELECT 3 AS c", capture_output=True, text=True)
    assert (bad.returncode, bad.stdout) == (2, "a\n1\n")
    assert bad.stderr.startswith("promolake: This is not SQL that can be read")
