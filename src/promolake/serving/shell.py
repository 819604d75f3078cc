"""The SQL shell: a prompt with history, completion and colours for a person, and a reader of piped statements for a script."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import duckdb
from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory
from prompt_toolkit.lexers import PygmentsLexer
from pygments.lexers.sql import SqlLexer

from promolake.core.errors import PromolakeError
from promolake.serving import catalog
from promolake.serving.console import HELP, Console, says_something, split

_WORD = re.compile(r"[\w.]+")
Print = Callable[[str], None]


def piped(console: Console, lines: Iterable[str], write: Print) -> None:
    """Answers statement after statement, the last one with or without its semicolon; the first that fails raises and ends it."""
    waiting = ""
    try:
        for line in lines:
            whole, waiting = split(waiting + line)
            for statement in whole:
                write(console.answer(statement))
        if says_something(waiting):
            write(console.answer(waiting))
    except EOFError:  # \q
        return


def interactive(console: Console, history: Path, write: Print, complain: Print) -> None:
    """Reads statements from the terminal until Ctrl-D or \\q; what fails is complained about in one line, and the prompt comes back."""
    history.touch(mode=0o600)  # statements may name people
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which whoever started this may have had ignored
    prompt = PromptSession[str](
        "promolake> ",
        prompt_continuation="      ...> ",
        history=FileHistory(str(history)),
        lexer=PygmentsLexer(SqlLexer),
        completer=Suggestions(console.relations()),
        complete_while_typing=False,
        multiline=Condition(lambda: not _is_whole(get_app().current_buffer.text)),
    )
    write(HELP)
    with ThreadPoolExecutor(1, "sql") as worker:
        while True:
            try:
                for statement in split(prompt.prompt() + "\n")[0]:
                    write(_awaited(worker.submit(console.answer, statement), console))
            except (PromolakeError, InterruptedError) as error:
                complain(f"{error}\n")
            except KeyboardInterrupt:
                console.reader.interrupt()
                _awaited(worker.submit(str), console)  # a statement handed over at that very moment is not left running
            except EOFError:
                return


def _awaited(answer: Future[str], console: Console) -> str:
    """The answer of the other thread, which Ctrl-C in this one interrupts."""
    while True:
        try:
            return answer.result()
        except KeyboardInterrupt:
            console.reader.interrupt()


def _is_whole(text: str) -> bool:
    return not says_something(split(text + "\n")[1])


class Suggestions(Completer):
    """Completes keywords, tables and views, and columns: those of the tables already named, or of all while none is."""

    def __init__(self, relations: dict[str, tuple[str, ...]]) -> None:
        self._relations = relations
        self._keywords = sorted(name.upper() for (name,) in duckdb.sql("SELECT keyword_name FROM duckdb_keywords()").fetchall())

    def get_completions(self, document: Document, event: CompleteEvent) -> Iterator[Completion]:
        word = document.get_word_before_cursor(pattern=_WORD)
        head, dot, tail = word.rpartition(".")
        if dot and head not in catalog.LAYERS:  # an alias
            yield from self._starting(tail, self._columns(document.text))
            return
        yield from self._starting(word, self._relations)
        named = (name for name in self._relations if word and name.partition(".")[2].startswith(word))
        yield from (Completion(name, -len(word)) for name in named)
        if not document.text.startswith("\\"):
            yield from self._starting(word, self._columns(document.text))
            yield from self._starting(word, self._keywords if word else ())

    def _columns(self, text: str) -> list[str]:
        named = [name for name in self._relations if name in text] or list(self._relations)
        return sorted({column for name in named for column in self._relations[name]})

    def _starting(self, word: str, names: Iterable[str]) -> Iterator[Completion]:
        return (Completion(name, -len(word)) for name in names if name.lower().startswith(word.lower()))
