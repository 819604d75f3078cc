"""The command line: `promolake --home DIR COMMAND`. Every expected failure is one sentence and an exit code of core/errors.py."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from promolake.core.errors import FlowFailed, PromolakeError

app = typer.Typer(
    help="A lakehouse for promotion days: Kafka to bronze, silver and gold Delta tables, with numbers that can be proved.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
local = typer.Typer(help="The embedded Kafka broker of a home, alone.", no_args_is_help=True)
app.add_typer(local, name="local")
# In which modules each command is. Of one command these are loaded: of all, it would take a second of a core, and be felt.
MODULES = {
    "alerts": ("alerting", "backtesting"),
    "audit": ("auditing",),
    "check": ("looking",),
    "demo": ("demo",),
    "doctor": ("healing",),
    "local": ("feeding",),
    "maintain": ("healing",),
    "quarantine": ("quarantining",),
    "rebuild": ("jobs",),
    "replay": ("feeding",),
    "run": ("jobs",),
    "sample": ("sampling",),
    "serve": ("serving",),
    "simulate": ("feeding",),
    "sql": ("looking",),
    "sql-server": ("sql_server",),
    "status": ("looking",),
    "tables": ("tables",),
    "verify": ("proving",),
}
# Into a pipe or a file Rich prints 80 columns, and cuts names to fit; what is read by a program or searched has them whole.
out = Console(highlight=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 200)
err = Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """Progress goes to stderr, so that what a command answers can be piped."""
    err.print(Text(text, style="dim"), soft_wrap=True)


@app.callback()
def start(
    context: typer.Context,
    home: Annotated[Path | None, typer.Option(help="Where all state lives. [default: .promolake, or PROMOLAKE_HOME]")] = None,
) -> None:
    context.obj = home


def register(words: Sequence[str] = ()) -> None:
    """Has the command of a command line register itself, by loading its modules; where it names none that is known, all do."""
    for module in MODULES.get(_command(words)) or sorted({name for names in MODULES.values() for name in names}):
        import_module(f"promolake.cli.{module}")


def _command(words: Sequence[str]) -> str:
    rest = iter(words)
    for word in rest:
        if word == "--home":
            next(rest, None)
        elif not word.startswith("-"):
            return word
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    register(words)
    try:
        app(args=words, standalone_mode=True)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    except PromolakeError as error:
        return _said(error)
    except KeyboardInterrupt:
        return 130
    except Exception:
        if not _java_died():
            raise
        what = "Java has ended in the middle of the work, killed or out of memory."
        return _said(FlowFailed(what, "Nothing is lost: start again, with more memory (engine.driver_memory) if it was that."))
    return 0


def _said(error: PromolakeError) -> int:
    err.print(Text.assemble(("promolake:", "red"), f" {error}"), soft_wrap=True)
    return error.exit_code


def _java_died() -> bool:
    if "pyspark" not in sys.modules:  # most commands do without
        return False
    from promolake.engine.session import died

    return died()
