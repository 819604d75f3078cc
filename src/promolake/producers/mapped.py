"""From a row of a file to the message its mapping makes of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from promolake.core.topic import Field
from promolake.producers.mapping import Condition, Found, Mapping, Value
from promolake.producers.message import Message
from promolake.producers.rows import Row, exact_json

Cells = dict[str, Any]
Reading = Callable[[Cells], "tuple[str | None, str]"]
"""From cells to the text, and what is wrong with it (or nothing). A text that is wrong is given as it was found."""

_JSON_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")


def folder_and_name(file: Path) -> tuple[str, str]:
    """What the ids of a file's rows begin with: the same wherever its folder lies."""
    return file.resolve().parent.name, file.name


class RowMapper:
    """The messages of one file's rows.

    `message` gives a row's message and what is wrong with it, a sentence or nothing; None where the mapping's `where` leaves it out.
    A row without cells is sent as its text stands in the file: silver quarantines it, nothing is lost.
    The event id is `folder/file:line`, so that replaying a file changes nothing.
    """

    def __init__(self, mapping: Mapping, file: Path) -> None:
        self._topic = mapping.contract
        self._where = [_test(condition) for condition in mapping.where]
        self._group = mapping.group
        self._last_group: Any = None
        self._number = 0
        folder, name = folder_and_name(file)
        self._file = {"$file": name, "$stem": name.split(".")[0], "$folder": folder}
        self._id = f"{folder}/{name}:"
        self._fields = [(field, _reading(mapping.fields[field.name])) for field in self._topic.fields if field.name in mapping.fields]
        self._value = _reading(mapping.value or Value(column="$text"))
        self._key = _reading(mapping.key or Value(constant=None))

    def message(self, row: Row) -> tuple[Message, str] | None:
        if row.problem:
            return self._untouched(row), row.problem
        cells = self._cells(row)
        if not all(test(cells) for test in self._where):
            return None
        return self._json(row, cells) if self._topic.codec == "json" else self._raw(row, cells)

    def _cells(self, row: Row) -> Cells:
        cells = row.cells | self._file
        cells["$text"], cells["$line"] = row.text, str(row.line)
        if self._group:
            group = cells.get(self._group)
            self._number = self._number + 1 if group == self._last_group else 1
            self._last_group = group
            cells["$number"] = str(self._number)
        return cells

    def _untouched(self, row: Row) -> Message:
        headers = () if self._topic.codec == "json" else (("event_id", f"{self._id}{row.line}".encode()),)
        return Message(self._topic.name, None, row.text.encode("utf-8", "surrogateescape"), headers)

    def _raw(self, row: Row, cells: Cells) -> tuple[Message, str]:
        text, wrong = self._value(cells)
        if text is None:
            return self._untouched(row), wrong or "has no text for the message"
        key, wrong_key = self._key(cells)
        headers = (("event_id", f"{self._id}{row.line}".encode()),)
        return Message(self._topic.name, _bytes(key), _bytes(text) or b"", headers), wrong or (wrong_key and f"key {wrong_key}")

    def _json(self, row: Row, cells: Cells) -> tuple[Message, str]:
        payload: dict[str, Any] = {"event_id": quoted(f"{self._id}{row.line}")}
        problems: list[str] = []
        key: str | None = None
        for field, reading in self._fields:
            text, wrong = reading(cells)
            literal, unfit = _literal(field, text)
            if wrong := wrong or unfit:
                problems.append(f"{field.name} {wrong}")
            if field.name == self._topic.key:
                key = text
            _put(payload, field.path, literal)
        return Message(self._topic.name, _bytes(key), _object(payload).encode()), "; ".join(problems)


def _bytes(text: str | None) -> bytes | None:
    # A lone surrogate (possible in JSON text) has no UTF-8 form; kept as invalid bytes, silver sees that it is.
    return None if text is None else text.encode("utf-8", "surrogatepass")


def _literal(field: Field, text: str | None) -> tuple[str, str]:
    """The JSON literal of a field's text and what is wrong with it. Numbers never pass through a float."""
    if text is None:
        return "null", "is empty" if field.required else ""
    if field.kind == "decimal":
        return quoted(text), "" if _number(text) is not None else "is not a number"
    if field.kind not in ("integer", "percent"):
        return quoted(text), ""
    number = _number(text)
    if number is None or (field.kind == "integer" and number != number.to_integral_value()):
        return quoted(text), "is not a whole number" if field.kind == "integer" else "is not a number"
    if field.kind == "integer":
        return format(number.to_integral_value(), "f"), ""
    return text if _JSON_NUMBER.fullmatch(text) else format(number, "f"), ""


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number.adjusted()) < 100 else None


def _put(payload: dict[str, Any], path: tuple[str, ...], literal: str) -> None:
    for step in path[:-1]:
        payload = payload.setdefault(step, {})
    payload[path[-1]] = literal


def _object(payload: dict[str, Any]) -> str:
    return "{" + ",".join(f'"{name}":{_object(of) if isinstance(of, dict) else of}' for name, of in payload.items()) + "}"


def _test(condition: Condition) -> Callable[[Cells], bool]:
    find = _finding(condition)
    if condition.matches is not None:
        matches = re.compile(condition.matches).search
        return lambda cells: (text := find(cells)) is not None and matches(text) is not None
    if condition.equals is not None:
        return lambda cells: (find(cells) or "") == condition.equals
    return lambda cells: find(cells) is not None


def _finding(found: Found) -> Callable[[Cells], str | None]:
    column, path = found.column, found.path
    search = re.compile(found.regex).search if found.regex else None
    group = 1 if search and re.compile(found.regex or "").groups else 0

    def find(cells: Cells) -> str | None:
        text = _text(_inside(cells.get(column), path) if path else cells.get(column))
        if text is None or search is None:
            return text
        match = search(text)
        return (match.group(group) or None) if match else None

    return find


def _text(given: Any) -> str | None:
    if given is None or given == "":
        return None
    return given if isinstance(given, str) else json.dumps(given)


def _inside(given: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        if isinstance(given, str):
            given = _parsed(given)
        given = given.get(step) if isinstance(given, dict) else None
    return given


@lru_cache(maxsize=64)  # several fields of a row look into the same text
def _parsed(text: str) -> Any:
    try:
        return exact_json(text)
    except (ValueError, RecursionError):
        return None


def _reading(value: Value) -> Reading:
    origin = _origin(value)
    lookup, default = value.lookup, _plain(value.default)
    change = _time(value.time, value.zone) if value.time else _scaled(value.scale) if value.scale is not None else None

    def read(cells: Cells) -> tuple[str | None, str]:
        text = origin(cells)
        if lookup and text is not None:
            text = _plain(lookup.get(text))
        if text is None:
            return default, ""
        return change(text) if change else (text, "")

    return read


def _origin(value: Value) -> Callable[[Cells], str | None]:
    if value.column is not None:
        return _finding(value)
    if not value.cases:
        constant = _plain(value.constant)
        return lambda cells: constant
    cases = [(_test(case.when), _plain(case.then)) for case in value.cases]
    return lambda cells: next((then for test, then in cases if test(cells)), None)


def _plain(given: str | int | None) -> str | None:
    return None if given is None else str(given)


def _scaled(scale: Decimal) -> Callable[[str], tuple[str, str]]:
    def scaled(text: str) -> tuple[str, str]:
        number = _number(text)
        return (text, "is not a number") if number is None else (format(number * scale, "f"), "")

    return scaled


def _time(formats: tuple[str, ...], zone: str) -> Callable[[str], tuple[str, str]]:
    local = ZoneInfo(zone)

    @lru_cache(maxsize=4096)  # neighbours in a file often share their time, and strptime is slow
    def time(text: str) -> tuple[str, str]:
        for name in formats:
            try:
                found = _instant(text, name)
                utc = (found if found.tzinfo else found.replace(tzinfo=local)).astimezone(UTC)
            except (ValueError, OverflowError, InvalidOperation):
                continue
            return utc.isoformat().replace("+00:00", "Z"), ""
        return text, f"is not a time like {' or '.join(formats)}"

    return time


def _instant(text: str, name: str) -> datetime:
    if name == "iso":
        return datetime.fromisoformat(text)
    if name in ("epoch_s", "epoch_ms"):
        seconds = Decimal(text) if name == "epoch_s" else Decimal(text) / 1000
        micros = int(seconds * 1_000_000)
        return datetime.fromtimestamp(micros // 1_000_000, UTC).replace(microsecond=micros % 1_000_000)
    return datetime.strptime(text, name)
