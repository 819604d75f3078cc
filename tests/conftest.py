"""What the whole test run shares."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from pyspark.sql import SparkSession

from chaos.ground import SHORT_LIVED
from promolake import settings
from promolake.engine.session import scan_session, session
from promolake.local.broker import Broker

# What commands print is as wide as this, wherever the tests run.
os.environ["COLUMNS"] = "160"

# A pytest-xdist worker has no main file, and pyspark.sql.connect (which Great Expectations tries) takes that for its doctests and exits.
if not hasattr(sys.modules["__main__"], "__file__"):
    sys.modules["__main__"].__file__ = __file__


def pytest_configure(config: pytest.Config) -> None:
    if config.option.markexpr not in ("chaos", "bench"):  # these two measure
        for name, value in SHORT_LIVED.items():
            os.environ.setdefault(name, value)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One real Kafka broker for all tests: each uses topics of its own."""
    shared = Broker(tmp_path_factory.mktemp("shared_broker"))
    shared.start(print, tied=True)
    yield shared
    shared.stop()


@pytest.fixture(scope="session")
def bootstrap(broker: Broker) -> str:
    return broker.status().bootstrap


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """One Spark session with Delta for all tests, set as for the scan: compiling the parse pass to Java takes longer than the tests."""
    with pytest.MonkeyPatch.context() as long_lived:
        for name, value in SHORT_LIVED.items():
            if os.environ.get(name) == value:
                long_lived.delenv(name)
        shared = session(settings.load(tmp_path_factory.mktemp("shared_home")), "tests", print, standing_tasks=2)
    yield scan_session(shared)
    shared.stop()


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    """`until(condition)` returns when the condition holds and fails when it does not within 20 s."""

    def wait(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "the condition never came true"
            time.sleep(0.02)

    return wait
