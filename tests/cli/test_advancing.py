"""A run that takes all there is says how far it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from promolake.cli import advancing as module
from promolake.cli.advancing import advancing, waiting
from promolake.core.errors import EnvironmentProblem
from promolake.engine import kafka
from promolake.engine import session as sessions
from promolake.engine.query_log import QueryLog

pytestmark = pytest.mark.broker


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAY_EVERY_SECONDS", 0.05)


@pytest.fixture
def topic(bootstrap: str) -> str:
    """One partition with 12 records."""
    name = f"advancing-{uuid4().hex}"
    kafka.ensure_topics(bootstrap, [name], partitions=1)
    producer = kafka.producer(bootstrap)
    for n in range(12):
        producer.send(name, b"%d" % n)
    producer.close()
    return name


def finished(checkpoint: Path, batch: int, topic: str, end: int) -> None:
    log = QueryLog(checkpoint)
    log.write_planned(batch, {topic: {"0": end}}, 0, None)
    log.write_done(batch)


def test_it_says_how_many_of_what_was_there_the_finished_batches_have_taken(
    bootstrap: str, topic: str, tmp_path: Path, until: Callable[..., None]
) -> None:
    said: list[str] = []
    finished(tmp_path, 0, topic, 2)  # by the run before
    with advancing(tmp_path, bootstrap, [topic], said.append):
        until(lambda: "0 of 10 records taken" in said)
        finished(tmp_path, 1, topic, 5)
        until(lambda: "3 of 10 records taken" in said)
        QueryLog(tmp_path).write_planned(2, {topic: {"0": 12}}, 0, None)
        count = len(said)
        until(lambda: len(said) > count + 1)
        assert said[-1] == "3 of 10 records taken", "a batch in hand is not taken"
        QueryLog(tmp_path).write_done(2)
        until(lambda: said[-1] == "10 of 10 records taken")
        count = len(said)
    assert len(said) == count


def test_nothing_to_take_is_not_worth_a_word(bootstrap: str, topic: str, tmp_path: Path, until: Callable[..., None]) -> None:
    said: list[str] = []
    finished(tmp_path, 0, topic, 12)
    with advancing(tmp_path, bootstrap, [topic], said.append):
        until(lambda: all(thread.name != "advancing" for thread in module.threading.enumerate()))
    assert said == []


def test_without_a_broker_it_is_silent_and_ends_when_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until: Callable[..., None]
) -> None:
    asked, said = [], []

    def away(*of: object) -> None:
        asked.append(of)
        raise kafka.away("nowhere:9092")

    monkeypatch.setattr(kafka, "first_offsets", away)
    with advancing(tmp_path, "nowhere:9092", ["topic"], said.append):
        until(lambda: len(asked) > 1)
    assert said == []


# --- how much there is to do -----------------------------------------------------------------------------------------------------


def test_what_waits_is_what_no_finished_batch_has_read(bootstrap: str, topic: str, tmp_path: Path) -> None:
    assert waiting(tmp_path, bootstrap, [topic]) == 12
    finished(tmp_path, 0, topic, 5)
    assert waiting(tmp_path, bootstrap, [topic]) == 7
    assert waiting(tmp_path, "127.0.0.1:1", [topic]) is None


@pytest.mark.parametrize(("records", "brief"), [(sessions.BRIEF - 1, True), (sessions.BRIEF, False), (None, False)])
def test_a_run_that_has_little_to_take_is_a_brief_one(
    records: int | None, brief: bool, promolake, bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: object, **options: object) -> None:
        raise EnvironmentProblem(f"brief: {options['brief']}", "")

    monkeypatch.setenv("PROMOLAKE_KAFKA__BOOTSTRAP", bootstrap)
    monkeypatch.setattr(module, "waiting", lambda *_: records)
    monkeypatch.setattr(sessions, "session", asked)
    assert f"brief: {brief}" in promolake("run", "--once").err
