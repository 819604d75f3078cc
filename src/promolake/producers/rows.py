"""The rows of a real file: csv, tsv, JSON lines or plain lines, gzipped or not, one at a time in constant memory."""

from __future__ import annotations

import csv
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Any, NamedTuple

from promolake.core.errors import PromolakeError, SettingsError
from promolake.producers.mapping import Mapping

GZIP = b"\x1f\x8b"
NO_TEXT = {
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"BZh": "packed by bzip2",
    b"\xfd7zXZ": "packed by xz",
    b"\x28\xb5\x2f\xfd": "packed by zstd",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}
"""How files begin that would be read as one long line, or as lines without sense: latin-1 reads any byte."""

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

    Raises SettingsError where the file cannot be read or does not fit the mapping, PromolakeError where its gzip is damaged.
    """
    try:
        with file.open("rb") as raw, gzip.open(raw) if raw.peek(2).startswith(GZIP) else nullcontext(raw) as stream:
            if what := next((what for begin, what in NO_TEXT.items() if raw.peek(4).startswith(begin)), None):
                raise SettingsError(f"{file} is {what}.", "Save it as text in UTF-8, gzipped or not, and replay that.")
            lines = _Lines(stream, mapping.encodings)
            told = 0
            for row in _READERS[mapping.format](file, lines, mapping):
                yield row
                if (position := raw.tell()) > told + TOLD_EVERY:
                    at(told := position)
            at(raw.tell())
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
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
    columns = _columns(file, reader, mapping)
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
        if problem and lines.number > line:  # a quote that is never closed takes the rows behind it along
            problem += f", up to line {lines.number}"
        yield Row(line, lines.text, {} if problem else dict(zip(columns, cells, strict=True)), problem)


def _columns(file: Path, reader: Iterator[list[str]], mapping: Mapping) -> tuple[str, ...]:
    """The columns as the mapping names them, or the first line that is not blank."""
    try:
        columns = mapping.column_names or tuple(next((cells for cells in reader if cells), ()))
    except csv.Error as error:
        raise SettingsError(f"{file} is not {mapping.format}: {error}.", "A line ends with LF or CR LF.") from error
    if not columns:
        raise SettingsError(f"{file} is empty: it has not even a header line.", "Leave it out.")
    if missing := mapping.columns.difference(columns):
        remedy = "If it is called otherwise there, copy the mapping, change the name and give the copy's path to --map."
        raise SettingsError(f"{file} has no column {min(missing)}; it has: {', '.join(columns)}.", remedy)
    if twice := [name for name in sorted(mapping.columns) if columns.count(name) > 1]:
        raise SettingsError(f"{file} has two columns called {twice[0]}.", "Rename the one the mapping does not mean.")
    return columns


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
    begun = False
    for line in lines:
        begins = starts(line) is not None
        if event and (size > LONGEST_EVENT or begins):
            _must_begin(file, mapping, begun or begins)
            yield Row(first, "".join(event).rstrip("\r\n"), {}, problem)
            event, size, problem = [], 0, ""
        begun = begun or begins
        problem = problem or lines.problem
        lines.begin()
        if event or line.strip():
            first = first if event else lines.number
            event.append(line)
            size += len(line)
    if event:
        _must_begin(file, mapping, begun)
        yield Row(first, "".join(event).rstrip("\r\n"), {}, problem)


def _must_begin(file: Path, mapping: Mapping, begun: bool) -> None:
    """A file in which no line begins an event would come out as one event, and count as one."""
    if not begun:
        remedy = "Copy the mapping, mend its event_starts and give the copy's path to --map."
        raise SettingsError(f"{file} has no line that begins an event as the mapping says: {mapping.event_starts}", remedy)


_READERS = {"csv": _table, "tsv": _table, "jsonl": _json_lines, "lines": _plain_lines}
