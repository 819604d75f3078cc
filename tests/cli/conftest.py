"""The command line in this process, in a home of its own, with the shipped configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from promolake.cli import main

REPOSITORY = Path(__file__).parents[2]


class Answer(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROMOLAKE_CONF", str(REPOSITORY / "conf"))
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("PROMOLAKE_HOME", "PROMOLAKE_KAFKA__BOOTSTRAP"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


@pytest.fixture
def promolake(home: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """`promolake("sql", "SELECT 1")` runs a command in the home and returns its exit code and what it printed."""

    def run(*arguments: str) -> Answer:
        code = main(["--home", str(home), *arguments])
        return Answer(code, *capsys.readouterr())

    return run
