"""What is typed at the shell: where a statement ends, what the commands print, what a prompt does with keys."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput

from promolake.cli.tables import the_dictionary
from promolake.core.errors import SettingsError
from promolake.serving.console import Console, says_something, split
from promolake.serving.shell import Suggestions, interactive, piped
from promolake.serving.sql import Reader

ENTRIES = the_dictionary()
UNITS = "SELECT product_id, unit_count FROM gold.sales_per_product_per_minute ORDER BY 1"
FOR_EVER = "SELECT COUNT(*) FROM range(1000000) AS a, range(1000000) AS b WHERE a.range * b.range % 7 = 3"


@pytest.fixture
def console(lake: Any) -> Iterator[Console]:
    lake.sales((0, "CNY", "p1", "1", 3), (0, "CNY", "p2", "1", 4))
    with Reader(lake.root) as reader:
        yield Console(reader, ENTRIES, "csv")


# --- where a statement ends ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "whole", "waits"),
    [
        ("SELECT 1;", ["SELECT 1;"], False),
        ("SELECT 1", [], True),
        ("SELECT\n1;\nSELECT 2; SELECT", ["SELECT\n1;", "SELECT 2;"], True),
        ("SELECT ';' AS a, \"b;c\" FROM x -- no; no\n;", ["SELECT ';' AS a, \"b;c\" FROM x -- no; no\n;"], False),
        ("/* a; b */ SELECT 1;", ["/* a; b */ SELECT 1;"], False),
        ("SELECT 1; -- done\n\\d\n\\q\n", ["SELECT 1;", "\\d", "\\q"], False),
        ("SELECT\n\\d\n", [], True),
        (";\n;;\n-- nothing", [], False),
    ],
)
def test_a_statement_ends_at_a_semicolon_that_is_one_and_a_command_with_its_line(text: str, whole: list[str], waits: bool) -> None:
    found, rest = split(text)
    assert [statement.strip() for statement in found] == whole
    assert says_something(rest) is waits


# --- commands --------------------------------------------------------------------------------------------------------------------


def test_d_lists_the_tables_and_views_that_can_be_asked(console: Console) -> None:
    lines = [line.split() for line in console.answer("\\d").splitlines()]
    assert [line[:2] for line in lines[2:-1]] == [["gold.sales_per_product_per_minute", "table"], ["gold.top_products", "view"]]


def test_d_with_a_name_gives_grain_columns_types_and_meanings(console: Console) -> None:
    shown = console.answer("\\d gold.sales_per_product_per_minute;")
    assert "One row per window_start, currency, product_id.\n" in shown
    assert any(line.split()[:3] == ["unit_count", "bigint", "Units"] for line in shown.splitlines())
    assert "`amount` or `units`." in console.answer("\\d gold.top_products")


def test_format_and_timing_hold_from_then_on(console: Console) -> None:
    assert console.answer(UNITS) == "product_id,unit_count\r\np1,3\r\np2,4\r\n"
    assert console.answer("\\format json") == "Rows are printed as json.\n"
    assert console.answer("\\timing") == "Timing is on.\n"
    rows, took = console.answer("SELECT 1 AS n;").rsplit("\n", 2)[0:2]
    assert rows.replace("\n", "").replace(" ", "") == '[{"n":1}]'
    assert took.endswith(" ms")
    assert console.answer("\\timing") == "Timing is off.\n"
    assert "ms" not in console.answer("SELECT 1 AS n;")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("\\x", "There is no command \\x."),
        ("\\d gold.nothing", "There is no table or view gold.nothing."),
        ("\\format xml", "There is no format xml."),
        ("DROP TABLE gold.top_products;", "Only one query is taken"),
        ("SELECT * FROM bronze.shop_orders;", "personal data in clear"),
    ],
)
def test_what_cannot_be_answered_is_said(console: Console, typed: str, said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        console.answer(typed)
    assert said in str(refused.value)


# --- piped -----------------------------------------------------------------------------------------------------------------------


def test_piped_statements_are_answered_in_order_and_the_last_needs_no_semicolon(console: Console) -> None:
    written: list[str] = []
    piped(console, ["SELECT 1 AS a;\n", "SELECT 2\n", "AS b;\n", "-- that was it\n", "SELECT 3 AS c"], written.append)
    assert written == ["a\r\n1\r\n", "b\r\n2\r\n", "c\r\n3\r\n"]


def test_the_first_piped_statement_that_fails_ends_it(console: Console) -> None:
    written: list[str] = []
    with pytest.raises(SettingsError):
        piped(console, ["SELECT 1 AS a;\n", "SELEC 2;\n", "SELECT 3;\n"], written.append)
    assert written == ["a\r\n1\r\n"]


def test_piped_q_ends_it(console: Console) -> None:
    written: list[str] = []
    piped(console, ["SELECT 1 AS a;\n", "\\q\n", "SELECT 2;\n"], written.append)
    assert written == ["a\r\n1\r\n"]


# --- at the prompt ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def keys() -> Iterator[PipeInput]:
    with create_pipe_input() as typed, create_app_session(input=typed, output=DummyOutput()):
        yield typed


def typed_in(console: Console, keys: PipeInput, text: str, history: Path) -> tuple[list[str], list[str]]:
    """What the shell prints after its help, and what it complains about."""
    written: list[str] = []
    complaints: list[str] = []
    keys.send_text(text)
    interactive(console, history, written.append, complaints.append)
    return written[1:], complaints


def test_a_statement_over_two_lines_is_answered_once_it_is_whole_and_ctrl_d_leaves(
    console: Console, keys: PipeInput, tmp_path: Path
) -> None:
    written, complaints = typed_in(console, keys, "SELECT 1\rAS a;\rSELECT 2 AS b; SELECT 3 AS c;\r\x04", tmp_path / "history")
    assert (written, complaints) == (["a\r\n1\r\n", "b\r\n2\r\n", "c\r\n3\r\n"], [])


def test_ctrl_c_drops_the_line_and_an_error_keeps_the_prompt(console: Console, keys: PipeInput, tmp_path: Path) -> None:
    written, complaints = typed_in(console, keys, "SELECT 8\x03SELEC 1;\rSELECT 2 AS b;\r\\q\r", tmp_path / "history")
    assert written == ["b\r\n2\r\n"]
    assert [line.count("\n") for line in complaints] == [1]
    assert "syntax error" in complaints[0]


def test_history_is_kept_for_the_owner_alone_and_comes_back_with_arrow_up(console: Console, keys: PipeInput, tmp_path: Path) -> None:
    history = tmp_path / "history"
    typed_in(console, keys, "SELECT 5 AS a;\r\x04", history)
    assert history.stat().st_mode & 0o777 == 0o600
    assert typed_in(console, keys, "\x1b[A\r\x04", history)[0] == ["a\r\n5\r\n"]


def test_an_interrupted_query_ends_and_the_reader_goes_on(console: Console, until) -> None:
    raised: list[BaseException] = []

    def ask() -> None:
        try:
            console.answer(FOR_EVER)
        except InterruptedError as interruption:
            raised.append(interruption)

    running = threading.Thread(target=ask)
    running.start()
    until(lambda: console.reader.interrupt() or not running.is_alive())
    assert [str(error) for error in raised] == ["The query was interrupted."]
    assert console.answer("SELECT 1 AS a") == "a\r\n1\r\n"


# --- completion ------------------------------------------------------------------------------------------------------------------

SALES, TOP = "gold.sales_per_product_per_minute", "gold.top_products"
SUGGESTIONS = Suggestions({SALES: ("currency", "sales_amount"), TOP: ("rank", "ranked_by")})


def suggested(text: str) -> list[str]:
    return [found.text for found in SUGGESTIONS.get_completions(Document(text), CompleteEvent())]


def test_completion_offers_keywords_tables_and_the_columns_of_what_is_named() -> None:
    assert "SELECT" in suggested("sel")
    assert suggested("SELECT * FROM gold.t") == [TOP]
    assert suggested("SELECT * FROM sales_p") == [SALES]
    assert suggested(f"SELECT * FROM {TOP} ORDER BY ranke") == ["ranked_by"]
    assert suggested(f"SELECT * FROM {TOP} AS top WHERE top.r") == ["rank", "ranked_by"]
    assert suggested(f"SELECT * FROM {TOP} AS top WHERE top.s") == []
    assert suggested("\\d gold.s") == [SALES]
