from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pyspark
import pytest

from promolake.core.errors import EnvironmentProblem
from promolake.engine import jars
from promolake.engine.jars import BROKER_JARS, SPARK_JARS, JarSet, java, resolved

REPOSITORY = Path(__file__).parents[2]
SETTINGS = """<ivysettings><settings defaultResolver="fake"/>
<resolvers><ibiblio name="fake" m2compatible="true" root="{}"/></resolvers></ivysettings>"""
POM = """<project><modelVersion>4.0.0</modelVersion><groupId>org.shop</groupId><artifactId>{}</artifactId><version>1.0</version>
<dependencies>{}</dependencies></project>"""
NEEDS_LEAF = "<dependency><groupId>org.shop</groupId><artifactId>leaf</artifactId><version>1.0</version></dependency>"
TOP = JarSet("fake", ("org.shop:top:1.0",), transitive=True)


@pytest.fixture
def maven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Maven repository on disk in place of Maven Central: `top` depends on `leaf`."""
    repository = tmp_path / "maven"
    for artifact, dependencies in (("top", NEEDS_LEAF), ("leaf", "")):
        folder = repository / "org" / "shop" / artifact / "1.0"
        folder.mkdir(parents=True)
        (folder / f"{artifact}-1.0.pom").write_text(POM.format(artifact, dependencies))
        (folder / f"{artifact}-1.0.jar").write_text(f"the {artifact} jar")
    monkeypatch.setenv("PROMOLAKE_JARS", str(tmp_path / "ivy"))
    monkeypatch.setattr(jars, "IVY_SETTINGS", SETTINGS.format(repository.as_uri()))
    return repository


@pytest.fixture
def any_java() -> Iterator[None]:
    """The answer of `java()` is remembered for the process: tests that change the environment begin and end without it."""
    java.cache_clear()
    yield
    java.cache_clear()


def fake_java(home: Path, version: str) -> None:
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "java").write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2020-01-01' >&2\n")
    (home / "bin" / "java").chmod(0o755)


def test_a_transitive_set_brings_what_it_depends_on_and_another_does_not(maven: Path) -> None:
    said: list[str] = []
    assert [jar.read_text() for jar in resolved(TOP, said.append)] == ["the top jar", "the leaf jar"]
    assert said == ["resolving the fake jars", "fetched fake jar 1: top.jar", "fetched fake jar 2: leaf.jar"]
    assert [jar.name for jar in resolved(JarSet("alone", TOP.coordinates, transitive=False), said.append)] == ["top-1.0.jar"]


def test_a_set_resolved_once_needs_neither_java_nor_a_network(maven: Path, monkeypatch: pytest.MonkeyPatch, any_java) -> None:
    first = resolved(TOP, print)
    java.cache_clear()
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    said: list[str] = []
    assert resolved(TOP, said.append) == first
    assert said == []


def test_a_jar_that_is_gone_is_fetched_again(maven: Path) -> None:
    first = resolved(TOP, print)
    first[1].unlink()
    assert resolved(TOP, print) == first
    assert first[1].read_text() == "the leaf jar"


def test_changed_coordinates_are_resolved_anew(maven: Path) -> None:
    resolved(TOP, print)
    assert [jar.name for jar in resolved(JarSet("fake", ("org.shop:leaf:1.0",), transitive=True), print)] == ["leaf-1.0.jar"]


def test_a_coordinate_that_does_not_exist_is_named(maven: Path) -> None:
    with pytest.raises(EnvironmentProblem, match=r"has no org\.shop#absent;2\.0"):
        resolved(JarSet("fake", ("org.shop:absent:2.0",), transitive=False), print)


def test_a_network_that_is_away_is_tried_again_and_then_one_sentence(maven: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jars, "IVY_SETTINGS", SETTINGS.format("http://127.0.0.1:1/"))
    said: list[str] = []
    with pytest.raises(EnvironmentProblem, match="Maven Central cannot be reached"):
        resolved(TOP, said.append)
    assert said.count("the fake jars could not be fetched: trying again") == jars.ATTEMPTS - 1


def test_a_cache_that_cannot_be_written_is_one_sentence(maven: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PROMOLAKE_JARS", str(tmp_path / "file"))
    with pytest.raises(EnvironmentProblem, match="Jars cannot be kept in"):
        resolved(TOP, print)


@pytest.mark.parametrize(("version", "called"), [("11.0.2", "Java 11"), ("1.8.0_392", "Java 8")])
def test_a_java_that_is_too_old_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, any_java, version: str, called: str) -> None:
    fake_java(tmp_path, version)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(EnvironmentProblem, match=f"is {called}; Java 17 or newer is needed"):
        java()


def test_java_home_goes_before_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, any_java) -> None:
    fake_java(tmp_path, "21.0.1")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert java() == tmp_path / "bin" / "java"


@pytest.mark.parametrize(("java_home", "what"), [("", "no java on the PATH"), ("/nowhere", "JAVA_HOME is /nowhere, which has no bin/java")])
def test_a_missing_java_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch, any_java, java_home: str, what: str) -> None:
    monkeypatch.setenv("JAVA_HOME", java_home)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EnvironmentProblem, match=f"{what}.*Install Java 17"):
        java()


def test_no_jar_for_spark_is_one_that_pyspark_has() -> None:
    pysparks = {re.sub(r"-\d[\w.]*\.jar$", "", jar.name) for jar in (Path(pyspark.__file__).parent / "jars").glob("*.jar")}
    assert not pysparks & {coordinate.split(":")[1] for coordinate in SPARK_JARS.coordinates}


def test_plain_spark_submit_asks_for_the_same_jars() -> None:
    lines = [line.split(None, 1) for line in (REPOSITORY / "conf" / "spark-defaults.conf").read_text().splitlines() if line]
    packages = dict(line for line in lines if line[0] != "#")["spark.jars.packages"].split(",")
    assert set(packages) <= set(SPARK_JARS.coordinates)
    assert (REPOSITORY / "infra" / "ivysettings.xml").read_text() == jars.IVY_SETTINGS


def test_the_brokers_jars_stay_apart_from_sparks() -> None:
    assert not set(BROKER_JARS.coordinates) & set(SPARK_JARS.coordinates)
