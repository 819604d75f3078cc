"""The rows of a real file: csv, tsv, JSON lines or plain lines, gzipped or not, one at a time in constant memory."""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any, NamedTuple

from promolake.core.errors import PromolakeError, SettingsError
from promolake.producers.mapping import Mapping

GZIP = b"\x1f\x8b"
TOLD_EVERY = 1 << 16
LONGEST_EVENT = 500_000  # characters glued into one event before a new one is begun: memory stays constant whatever the file holds


class Row(NamedTuple):
    """A row: the line it starts in (from 1, header included), its text as it stands in the file, and its cells by column.

    `problem` is empty, or says why there are no cells. Bytes that no encoding reads stand in `text` as surrogate escapes.
    """

    line: int
    text: str
    cells: dict[str, Any]
    problem: str = ""


def exact_json(text: str) -> Any:
    """JSON whose numbers stay the text they are written as. Raises ValueError."""
    return json.loads(text, parse_int=str, parse_float=str, parse_constant=str)


def rows(file: Path, mapping: Mapping, at: Callable[[int], None] = lambda position: None) -> Iterator[Row]:
    """The rows of one file; blank lines are none. `at` is told how many bytes of the file are read.

    Raises SettingsError where the file cannot be read or lacks a column the mapping names, PromolakeError where its gzip is damaged.
    """
    try:
        with file.open("rb") as raw, gzip.open(raw) if raw.peek(2).startswith(GZIP) else nullcontext(raw) as stream:
            lines = _Lines(stream, mapping.encodings)
            told = 0
            for row in _READERS[mapping.format](file, lines, mapping):
                yield row
                if (position := raw.tell()) > told + TOLD_EVERY:
                    at(told := position)
            at(raw.tell())
    except (gzip.BadGzipFile, EOFError) as error:
        raise PromolakeError(f"The gzip of {file} is damaged after line {lines.number}.", "Fetch the file again.") from error
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}.", "Check the path and its permissions.") from error


class _Lines:
    """The decoded lines of a stream, line ends kept; `taken` are those read since it was last emptied."""

    def __init__(self, stream: IO[bytes], encodings: tuple[str, ...]) -> None:
        self._stream = stream
        self._encodings = encodings
        self.number = 0
        self.taken: list[str] = []
        self.unreadable = False

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._decoded(next(self._stream).removeprefix(b"\xef\xbb\xbf" if self.number == 0 else b""))
        self.number += 1
        self.taken.append(line)
        return line

    def _decoded(self, line: bytes) -> str:
        for encoding in self._encodings:
            try:
                return line.decode(encoding)
            except UnicodeDecodeError:
                continue
        self.unreadable = True
        return line.decode("utf-8", "surrogateescape")

    def begin(self) -> None:
        self.taken.clear()
        self.unreadable = False

    @property
    def text(self) -> str:
        return "".join(self.taken).rstrip("\r\n")

    @property
    def problem(self) -> str:
        return "is not text in the mapping's encodings" if self.unreadable else ""


def _table(file: Path, lines: _Lines, mapping: Mapping) -> Iterator[Row]:
    reader = csv.reader(lines) if mapping.format == "csv" else csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    columns = mapping.column_names or tuple(next(reader, ()))
    if missing := mapping.columns.difference(columns):
        raise SettingsError(f"{file} has no column {min(missing)}.", f"It has: {', '.join(columns)}.")
    while True:
        line, problem = lines.number + 1, ""
        lines.begin()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            cells, problem = [], f"is not {mapping.format}: {error}"
        if not cells and not problem:
            continue
        if not problem and len(cells) != len(columns):
            problem = f"has {len(cells)} columns instead of {len(columns)}"
        problem = lines.problem or problem
        yield Row(line, lines.text, {} if problem else dict(zip(columns, cells, strict=True)), problem)


def _json_lines(file: Path, lines: _Lines, mapping: Mapping) -> Iterator[Row]:
    for line in lines:
        text, problem, cells = lines.text, lines.problem, {}
        lines.begin()
        if not line.strip():
            continue
        try:
            cells = exact_json(line)
        except ValueError:
            problem = problem or "is not JSON"
        if not problem and not isinstance(cells, dict):
            problem = "is not a JSON object"
        yield Row(lines.number, text, {} if problem else cells, problem)


def _plain_lines(file: Path, lines: _Lines, mapping: Mapping) -> Iterator[Row]:
    starts = re.compile(mapping.event_starts or "").search
    event: list[str] = []
    first = size = 0
    problem = ""
    for line in lines:
        if event and (size > LONGEST_EVENT or starts(line)):
            yield Row(first, "".join(event).rstrip("\r\n"), {}, problem)
            event, size, problem = [], 0, ""
        problem = problem or lines.problem
        lines.begin()
        if event or line.strip():
            first = first if event else lines.number
            event.append(line)
            size += len(line)
    if event:
        yield Row(first, "".join(event).rstrip("\r\n"), {}, problem)


_READERS = {"csv": _table, "tsv": _table, "jsonl": _json_lines, "lines": _plain_lines}
