"""An answer as text: an aligned table to read, CSV and JSON to hand on. All three are exact: no figure passes through a float."""

from __future__ import annotations

import csv
import io
import json
import math
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Literal, get_args

import pyarrow as pa
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from promolake.core.errors import SettingsError

Format = Literal["table", "csv", "json"]
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the start of a formula (OWASP, CSV Injection)


def formatted(rows: pa.Table, format: Format) -> str:
    """The rows as text ending in a newline. Times are ISO 8601 (Z where they have a zone), bytes hexadecimal, decimals plain digits.

    csv: RFC 4180; NULL is an empty cell; text that a spreadsheet would take for a formula gets a leading apostrophe.
    json: a list of objects; decimals with a fraction are strings, so that no reader rounds them, integers of any width numbers.
    Raises SettingsError for another format.
    """
    if format not in get_args(Format):
        raise SettingsError(f"There is no format {format}.", f"Choose one of {', '.join(get_args(Format))}.")
    return {"table": _table, "csv": _csv, "json": _json}[format](rows)


def _table(rows: pa.Table) -> str:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for field in rows.schema:
        table.add_column(Text(_printable(field.name)), justify="right" if _is_number(field.type) else "left", no_wrap=True)
    for row in _rows(rows):
        table.add_row(*(Text(_printable(_text(value))) for value in row))
    out = io.StringIO()
    console = Console(file=out, color_system=None, width=10**6)  # whole cells, however narrow the terminal
    console.print(table)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    return "\n".join(line for line in lines if line) + f"\n{rows.num_rows} row{'' if rows.num_rows == 1 else 's'}\n"


def _csv(rows: pa.Table) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(rows.schema.names)
    for row in _rows(rows):
        writer.writerow([_harmless(value) for value in row])
    return out.getvalue()


def _harmless(value: Any) -> str:
    """The cell, no formula: a figure may begin with a minus, text may not."""
    cell = _text(value)
    return f"'{cell}" if isinstance(value, str) and cell.startswith(_FORMULA) else cell


def _json(rows: pa.Table) -> str:
    names = rows.schema.names
    if len(set(names)) < len(names):
        raise SettingsError("Two columns of the answer have the same name.", "Name them apart with AS.")
    objects = [dict(zip(names, map(_jsonable, row), strict=True)) for row in _rows(rows)]
    return json.dumps(objects, ensure_ascii=False, indent=2) + "\n"


def _rows(rows: pa.Table) -> Any:
    """The rows as tuples: by position, since two columns may share a name."""
    return zip(*(column.to_pylist() for column in rows.columns), strict=True)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def _text(value: Any) -> str:
    """A cell; NULL is empty."""
    plain = _jsonable(value)
    if plain is None:
        return ""
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _jsonable(value: Any) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case Decimal():
            return format(value, "f") if value.as_tuple().exponent else int(value)
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case date() | time():
            return value.isoformat()
        case bytes():
            return value.hex()
        case dict():
            return {str(key): _jsonable(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_jsonable(inner) for inner in value]
    return str(value)


def _printable(text: str) -> str:
    """The text without control characters: what an event carries must not steer the reader's terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
