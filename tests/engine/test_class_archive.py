"""Spark and the embedded broker start from the classes `make install` has kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from promolake.cli import priming
from promolake.core.errors import EnvironmentProblem
from promolake.engine import class_archive, jars
from promolake.local.broker import Broker


@pytest.mark.spark
def test_spark_starts_from_the_archive(spark: SparkSession) -> None:
    """A JVM that cannot use it says nothing and does without: only its memory tells."""
    jvm = spark.sparkContext._gateway.proc.pid
    assert str(class_archive.SPARK) in Path(f"/proc/{jvm}/maps").read_text()


@pytest.mark.broker
def test_the_broker_starts_from_its_own(broker: Broker) -> None:
    assert str(class_archive.BROKER) in Path(f"/proc/{broker.status().pid}/maps").read_text()


def test_without_an_archive_java_is_asked_for_none(tmp_path: Path) -> None:
    assert class_archive.reading(tmp_path / "classes.jsa") == ""


def test_an_archive_spark_would_split_the_name_of_is_passed_over(tmp_path: Path) -> None:
    archive = tmp_path / "my classes.jsa"
    archive.touch()
    assert class_archive.reading(archive) == ""


@pytest.mark.parametrize(("what", "load"), [("SPARK", "rehearse"), ("BROKER", "stand_up")])
def test_half_an_archive_is_never_kept(
    what: str, load: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A JVM dies of one, where it would pass over an archive of other jars; its crash report goes with it."""
    monkeypatch.chdir(tmp_path)
    for name in ("SPARK", "BROKER"):
        with getattr(class_archive, name).open("rb") as whole:
            begun = whole.read(1_000_000)
        monkeypatch.setattr(class_archive, name, tmp_path / "kept" / f"{name}.jsa")
    monkeypatch.setattr(priming, "rehearse", lambda archive, home: None)
    monkeypatch.setattr(priming, "stand_up", lambda archive, home: None)
    monkeypatch.setattr(priming, load, lambda archive, home: archive.write_bytes(begun))
    assert priming.main() == 0
    assert capsys.readouterr().err.count("no class archive") == 2
    assert not getattr(class_archive, what).exists()
    assert list(tmp_path.glob("hs_err*")) == []


@pytest.mark.parametrize("missing", [jars.SPARK_JARS, jars.BROKER_JARS], ids=lambda jar_set: jar_set.name)
def test_an_installation_without_jars_fails_and_says_why(
    missing: jars.JarSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def resolved(jar_set: jars.JarSet, progress: object) -> list[Path]:
        if jar_set is missing:
            raise EnvironmentProblem("Maven Central cannot be reached.", "Check the network.")
        return []

    monkeypatch.setattr(jars, "resolved", resolved)
    monkeypatch.setattr(priming, "keep", lambda what, target, load: None)
    assert priming.main() == EnvironmentProblem.exit_code
    assert "Maven Central cannot be reached. Check the network." in capsys.readouterr().err
