"""One small day on a broker of its own, and the lake an undisturbed run makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

import day as days
from engine.ward import Patient, Ward, opened
from faults import Faults
from promolake.engine.lakehouse import Lakehouse
from promolake.gold import forwarded_errors
from promolake.local.broker import Broker

PER_TOPIC = 50


@pytest.fixture(scope="session")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[days.Day]:
    own = Broker(tmp_path_factory.mktemp("day"))
    own.start(print, tied=True)
    yield days.sent(own.status().bootstrap, PER_TOPIC)
    own.stop()


@pytest.fixture(scope="session")
def clean_run(day: days.Day, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> days.CleanRun:
    settings = days.settings_for(tmp_path_factory.mktemp("undisturbed"))
    days.run_once(settings, day.bootstrap, spark)
    forwarded = [key for key, _ in days.on_topic(day.bootstrap, forwarded_errors.TOPIC)]
    return days.CleanRun(Lakehouse(settings.lake), forwarded)


@pytest.fixture(scope="session")
def undisturbed(clean_run: days.CleanRun) -> Lakehouse:
    return clean_run.lake


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    return Faults(monkeypatch)


@pytest.fixture(scope="session")
def ward(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    with opened(spark, tmp_path_factory) as found:
        yield found


@pytest.fixture
def patient(ward: Ward, tmp_path: Path) -> Patient:
    return ward.admit(tmp_path / "patient")
