"""`promolake sql` without a statement: a shell in a real terminal, and what is piped in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pexpect
import pyarrow as pa
import pytest

from bench.measuring import cpu_seconds, tree
from promolake.engine.arrow import arrow_schema
from promolake.engine.lakehouse import Lakehouse, Txn
from promolake.gold.sales_per_product_per_minute import TABLE as SALES
from promolake.serving import shell

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
    deaf = partial(signal.signal, signal.SIGINT, signal.SIG_IGN)  # as a script's jobs in the background are
    shell = pexpect.spawn(sql[0], sql[1:], encoding="utf-8", timeout=30, dimensions=(40, 200), env=environment, preexec_fn=deaf)
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
    before = cpu_seconds(tree(terminal.pid))
    until(lambda: cpu_seconds(tree(terminal.pid)) > before + 2, 60)  # the statement is handed over: a Ctrl-C before that drops the line

    def interrupted() -> bool:  # as often as a person would: while the tables are being opened there is no query yet
        terminal.sendintr()
        return terminal.expect_exact(["The query was interrupted.", pexpect.TIMEOUT], timeout=2) == 0

    until(interrupted, 60)
    terminal.expect_exact(PROMPT)
    terminal.send("SELECT 4000 + 2 AS n;\r")
    terminal.expect_exact("4002")
    terminal.send("\\q\r")
    terminal.expect_exact(pexpect.EOF)
    assert terminal.wait() == 0


def test_a_query_handed_over_when_ctrl_c_comes_is_not_left_running(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ended, interrupt = threading.Event(), threading.Event()

    class Console:
        """Answers when it is interrupted."""

        reader = SimpleNamespace(interrupt=interrupt.set)
        relations = staticmethod(dict)

        def answer(self, statement: str) -> str:
            assert interrupt.wait(20)
            ended.set()
            return statement

    class Worker(ThreadPoolExecutor):
        """Is interrupted as soon as it has its first statement."""

        def submit(self, work: Callable[..., str], *given: str) -> Future[str]:
            future = super().submit(work, *given)
            if given:
                raise KeyboardInterrupt
            return future

    class Prompt:
        def __class_getitem__(cls, _: type) -> type:
            return cls

        def __init__(self, *_: object, **__: object) -> None:
            self.lines = ["SELECT 1;"]

        def prompt(self) -> str:
            if self.lines:
                return self.lines.pop()
            assert ended.is_set(), "the prompt came back while the query went on"
            raise EOFError

    monkeypatch.setattr(shell, "ThreadPoolExecutor", Worker)
    monkeypatch.setattr(shell, "PromptSession", Prompt)
    shell.interactive(Console(), tmp_path / "history", print, print)
    assert ended.is_set()


def test_piped_statements_are_answered_and_a_failing_one_is_the_exit_code(sql: list[str]) -> None:
    good = subprocess.run(
        [*sql, "--format", "csv"], input="SELECT product_id FROM gold.top_products LIMIT 1", capture_output=True, text=True
    )
    assert (good.returncode, good.stdout, good.stderr) == (0, "product_id\np1\n", "")
    bad = subprocess.run([*sql, "--format", "csv"], input="SELECT 1 AS a; SELEC 2; SELECT 3 AS c", capture_output=True, text=True)
    assert (bad.returncode, bad.stdout) == (2, "a\n1\n")
    assert bad.stderr.startswith("promolake: This is not SQL that can be read")
