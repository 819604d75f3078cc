"""What is typed becomes text to print: SQL statements, and the backslash commands of psql. No terminal is needed here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import get_args

import pyarrow as pa
from pygments.lexers.sql import SqlLexer
from pygments.token import Comment, Punctuation, Text

from promolake.core.errors import SettingsError
from promolake.serving.dictionary import Entry
from promolake.serving.formats import Format, formatted
from promolake.serving.sql import Reader

HELP = """\
A statement ends with a semicolon and may take several lines.
\\d             tables and views
\\d NAME        columns of one, with types and meanings
\\format NAME   how rows are printed: table, csv or json
\\timing        print how long each statement took, or no longer
\\?             this help
\\q             leave (or Ctrl-D); Ctrl-C drops the line or interrupts the query
"""


class Console:
    """Statements and commands against one reader; `entries` are the dictionary's."""

    def __init__(self, reader: Reader, entries: Iterable[Entry], format: Format) -> None:
        self.reader = reader
        self._entries = {entry.name: entry for entry in entries}
        self._format = format
        self._timing = False
        self._commands: dict[str, Callable[[str], str]] = {
            "\\d": self._describe,
            "\\format": self._set_format,
            "\\timing": self._switch_timing,
            "\\?": lambda _: HELP,
            "\\q": _leave,
        }

    def answer(self, text: str) -> str:
        """What one whole statement or command prints, ending in a newline.

        Raises SettingsError when it cannot be answered, InterruptedError when the reader was interrupted, EOFError on leaving.
        """
        stripped = text.strip().rstrip(";")
        if stripped.startswith("\\"):
            name, _, argument = stripped.partition(" ")
            if name not in self._commands:
                raise SettingsError(f"There is no command {name}.", "\\? lists them.")
            return self._commands[name](argument.strip())
        began = time.monotonic()
        shown = formatted(self.reader.query(stripped), self._format)
        return shown + (f"{(time.monotonic() - began) * 1000:,.0f} ms\n" if self._timing else "")

    def relations(self) -> dict[str, tuple[str, ...]]:
        """The columns of every table and view that can be queried now, by its name."""
        there = (relation.name for relation in self.reader.tables())
        return {name: tuple(column.name for column in self._entries[name].columns) if name in self._entries else () for name in there}

    def _describe(self, name: str) -> str:
        if not name:
            there = self.reader.tables()
            listed = {what: [getattr(relation, what) for relation in there] for what in ("name", "kind", "description")}
            return formatted(pa.table(listed, schema=pa.schema([(what, pa.string()) for what in listed])), "table")
        if name not in self._entries:
            raise SettingsError(f"There is no table or view {name}.", "\\d lists them.")
        entry = self._entries[name]
        columns = {what: [getattr(column, part) for column in entry.columns] for what, part in _COLUMN.items()}
        grain = f"One row per {', '.join(entry.grain)}.\n" if entry.grain else ""
        return f"{entry.description}\n{grain}{formatted(pa.table(columns), 'table')}"

    def _set_format(self, name: str) -> str:
        if name not in get_args(Format):
            raise SettingsError(f"There is no format {name or 'without a name'}.", f"Choose one of {', '.join(get_args(Format))}.")
        self._format = name
        return f"Rows are printed as {name}.\n"

    def _switch_timing(self, _: str) -> str:
        self._timing = not self._timing
        return f"Timing is {'on' if self._timing else 'off'}.\n"


_COLUMN = {"column": "name", "type": "type", "meaning": "description"}


def _leave(_: str) -> str:
    raise EOFError


def split(text: str) -> tuple[list[str], str]:
    """The whole statements and commands of a text, and the rest that still waits for its semicolon.

    A semicolon in a string, a quoted name or a comment ends nothing; a command is one line; nothing but comments is no statement.
    """
    whole, rest = [], ""
    for line in text.splitlines(keepends=True):
        if line.lstrip().startswith("\\") and not says_something(rest):
            whole.append(line.strip())
            rest = ""
        else:
            *ended, rest = _at_semicolons(rest + line)
            whole += ended
    return [statement for statement in whole if says_something(statement)], rest


def says_something(text: str) -> bool:
    return any(kind not in Comment and kind not in Text and value != ";" for kind, value in SqlLexer().get_tokens(text))


def _at_semicolons(text: str) -> list[str]:
    parts = [""]
    for _, kind, value in SqlLexer().get_tokens_unprocessed(text):
        parts[-1] += value
        if kind in Punctuation and value == ";":
            parts.append("")
    return parts
