"""Answers as text: aligned to read, exact to hand on."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from promolake.core.errors import SettingsError
from promolake.serving.formats import formatted

ROWS = pa.table(
    {
        "product_id": pa.array(["p1", None]),
        "sales_amount": pa.array([Decimal("-10.1234"), Decimal("0")], pa.decimal128(28, 4)),
        "unit_count": pa.array([12345, None], pa.int64()),
        "window_start": pa.array([datetime(2026, 11, 11, 0, 5, tzinfo=UTC)] * 2, pa.timestamp("us", "UTC")),
    }
)


def test_a_table_is_aligned_with_numbers_to_the_right_and_decimals_as_they_are() -> None:
    lines = formatted(ROWS, "table").splitlines()
    assert [line.split() for line in lines[2:]] == [
        ["p1", "-10.1234", "12345", "2026-11-11T00:05:00Z"],
        ["0.0000", "2026-11-11T00:05:00Z"],
        ["2", "rows"],
    ]
    ends = {line.index(cell) + len(cell) for line, cell in zip(lines[:1] + lines[2:4], ("sales_amount", "-10.1234", "0.0000"), strict=True)}
    assert len(ends) == 1


def test_a_table_shows_whole_cells_however_long() -> None:
    assert "x" * 5000 in formatted(pa.table({"message": ["x" * 5000]}), "table")


def test_a_table_passes_no_control_character_and_no_markup_to_the_terminal() -> None:
    shown = formatted(pa.table({"message": ["\x1b[31mred\nnext", "[bold]text[/bold]"]}), "table")
    assert "\x1b" not in shown
    assert r"\x1b[31mred\nnext" in shown
    assert "[bold]text[/bold]" in shown


def test_csv_is_rfc_4180_and_reads_back() -> None:
    text = formatted(pa.table({"a": ['say "hi", twice', "two\nlines", None], "b": [1, 2, 3]}), "csv")
    assert text.startswith('a,b\r\n"say ""hi"", twice",1\r\n')
    assert list(csv.reader(io.StringIO(text, newline=""))) == [["a", "b"], ['say "hi", twice', "1"], ["two\nlines", "2"], ["", "3"]]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_csv_text_never_begins_a_formula_but_negative_figures_stay(start: str) -> None:
    text = formatted(pa.table({"t": [f"{start}1"], "n": [-1], "d": [Decimal("-1.50")], "f": [-0.5]}), "csv")
    assert list(csv.reader(io.StringIO(text, newline="")))[1] == [f"'{start}1", "-1", "-1.50", "-0.5"]


def test_json_is_a_list_of_objects_with_exact_figures() -> None:
    assert json.loads(formatted(ROWS, "json")) == [
        {"product_id": "p1", "sales_amount": "-10.1234", "unit_count": 12345, "window_start": "2026-11-11T00:05:00Z"},
        {"product_id": None, "sales_amount": "0.0000", "unit_count": None, "window_start": "2026-11-11T00:05:00Z"},
    ]


def test_json_writes_whole_decimals_as_numbers_since_sums_of_counts_are() -> None:
    assert json.loads(formatted(pa.table({"n": pa.array([Decimal(2**70)], pa.decimal128(38, 0))}), "json")) == [{"n": 2**70}]


def test_json_stays_json_where_a_figure_is_no_number() -> None:
    assert json.loads(formatted(pa.table({"f": [float("nan"), float("inf"), 0.5]}), "json"), parse_constant=pytest.fail) == [
        {"f": "nan"},
        {"f": "inf"},
        {"f": 0.5},
    ]


def test_bytes_are_hexadecimal_days_iso_and_lists_json_in_every_format() -> None:
    rows = pa.table({"b": [b"\x00\xff"], "d": [date(2026, 11, 11)], "l": [["a", "b"]], "y": [True]})
    assert json.loads(formatted(rows, "json")) == [{"b": "00ff", "d": "2026-11-11", "l": ["a", "b"], "y": True}]
    assert formatted(rows, "csv").splitlines()[1] == '00ff,2026-11-11,"[""a"", ""b""]",true'
    assert formatted(rows, "table").splitlines()[2].split() == ["00ff", "2026-11-11", '["a",', '"b"]', "true"]


def test_two_columns_of_one_name_are_kept_in_csv_and_refused_in_json() -> None:
    rows = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    assert formatted(rows, "csv").splitlines()[1] == "1,2"
    with pytest.raises(SettingsError, match="same name"):
        formatted(rows, "json")


def test_no_rows_is_an_answer() -> None:
    nothing = ROWS.slice(0, 0).select(["product_id", "unit_count"])
    assert formatted(nothing, "csv") == "product_id,unit_count\r\n"
    assert json.loads(formatted(nothing, "json")) == []
    assert formatted(nothing, "table").split()[:2] == ["product_id", "unit_count"]
    assert formatted(nothing, "table").endswith("\n0 rows\n")


def test_an_unknown_format_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="table, csv, json"):
        formatted(ROWS, "xml")
