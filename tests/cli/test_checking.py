"""`promolake check` finds what is wrong, says what to do about it, and is quick."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from cli.conftest import REPOSITORY
from promolake.cli import checking
from promolake.engine.jars import java

GENEROUS_SECONDS = 4.0
"""The promise is 2 s on a quiet machine; processor time is measured, so that other work on this one does not count."""


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_a_sound_machine_passes_within_seconds(home: Path) -> None:
    environment = dict(os.environ) | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    before = processor_seconds()
    check = [sys.executable, "-m", "promolake.cli", "--home", str(home), "check"]
    done = subprocess.run(check, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert processor_seconds() - before < GENEROUS_SECONDS
    passed = [line.split("  ", 1)[1] for line in done.stdout.splitlines()]
    assert all(line.startswith("ok  ") for line in done.stdout.splitlines())
    mapping = "mapping online_retail -> shop.orders"
    for beginning in ("settings, home ", mapping, "contracts of 6 topics", "versions pyspark ", "Java at ", "ports "):
        assert any(line.startswith(beginning) for line in passed), beginning
    assert done.stderr == ""


def test_a_missing_java_is_named_with_its_remedy_and_the_rest_is_checked_all_the_same(
    home: Path, promolake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no java").mkdir()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "no java"))
    monkeypatch.setenv("PATH", "")
    java.cache_clear()
    try:
        answer = promolake("check")
    finally:
        java.cache_clear()
    assert answer.code == 3
    wrong = [line for line in answer.out.splitlines() if line.startswith("no")]
    assert len(wrong) == 1
    assert wrong[0].startswith(f"no  JAVA_HOME is {tmp_path / 'no java'}, which has no bin/java. Install Java 17 (Debian: ")
    assert "ok  ports" in answer.out


def test_every_problem_is_named_and_not_only_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").write_text("a file")
    (tmp_path / "replay").mkdir()
    (tmp_path / "replay" / "wrong.yaml").write_text("topic: shop.nothing\n")
    monkeypatch.setenv("PROMOLAKE_CONF", str(tmp_path))
    monkeypatch.setitem(checking.PINNED, "deltalake", "0.0.1")
    found, passed = checking.problems(tmp_path / "home")
    assert len(found) == 3
    assert found[0] == f"The home {tmp_path}/home cannot be written: File exists. Choose another with --home."
    assert "wrong.yaml" in found[1]
    assert found[2].startswith("deltalake is 1.")
    assert found[2].endswith(", not 0.0.1. Run make install.")
    assert len(passed) == 4
