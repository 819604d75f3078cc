"""What the whole test run shares."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from chaos.ground import SHORT_LIVED
from faults import Hanging
from promolake import settings
from promolake.engine import session as sessions
from promolake.engine.session import scan_session, session
from promolake.local.broker import Broker
from shared_plans import shared_plans

# What commands print is as wide as this, wherever the tests run.
os.environ["COLUMNS"] = "160"

# The beginnings of names of files that share what takes long to set up: a ward.
SHARED = ("tests/engine/test_doctor",)

# The beginnings of names of files that need none of the tests' Spark session: what they start works mostly for itself.
WITHOUT_SPARK = (
    *(f"tests/{room}/" for room in ("bench", "browser", "core", "local", "producers", "serving/page")),
    *(f"tests/alerts/test_{name}" for name in ("channels", "dispatcher", "doctor_alerts", "evaluating", "outbox", "views", "watch")),
    *(f"tests/cli/test_{name}" for name in ("advancing", "alerting", "commands", "lineage", "operating", "serving", "shell", "sql_server")),
    *(f"tests/engine/test_{name}" for name in ("jars", "kafka", "minutes", "seen", "session")),
    "tests/end_to_end/test_spark_submit",
)
THIRD = "gw2"  # the worker that takes these alone: a session takes a minute of a core to be warm

# A pytest-xdist worker has no main file, and pyspark.sql.connect (which Great Expectations tries) takes that for its doctests and exits.
if not hasattr(sys.modules["__main__"], "__file__"):
    sys.modules["__main__"].__file__ = __file__


def pytest_configure(config: pytest.Config) -> None:
    if config.option.markexpr not in ("chaos", "bench"):  # these two measure
        for name, value in SHORT_LIVED.items():
            os.environ.setdefault(name, value)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Nothing of two thousand tests is let go while they are found: looking for what might be takes two fifths of that time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_unconfigure() -> None:
    """What was kept from the collector is given back: DuckDB lists, at exit, all that is still held as a leak."""
    gc.unfreeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file to each worker, files that share an expensive fixture to the same one, and none with Spark to a third worker."""
    if config.option.dist != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Sharing(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return next((shared for shared in SHARED if file.startswith(shared)), file)

        def _reschedule(self, node: Any) -> None:
            if node.gateway.id != THIRD or any(map(_without_spark, self.workqueue)):
                super()._reschedule(node)
            elif not node.shutting_down:
                node.shutdown()

        def _assign_work_unit(self, node: Any) -> None:
            is_third = node.gateway.id == THIRD
            file = next((file for file in self.workqueue if _without_spark(file) == is_third), None)
            if file is not None:
                self.workqueue.move_to_end(file, last=False)
            super()._assign_work_unit(node)

    return Sharing(config, log)


def _without_spark(file: str) -> bool:
    return file.startswith(WITHOUT_SPARK)


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


@pytest.fixture
def hanging(broker: Broker, until: Callable[..., None]) -> Hanging:
    """Of the shared broker."""

    @contextmanager
    def hangs() -> Iterator[Callable[[], None]]:
        pid = broker.status().pid
        os.kill(pid, signal.SIGSTOP)
        try:
            until(lambda: _stands_still(pid))
            yield lambda: os.kill(pid, signal.SIGCONT)
        finally:
            os.kill(pid, signal.SIGCONT)

    return hangs


def _stands_still(pid: int) -> bool:
    """On busy cores a process answers on for a while after it was told to stop: the thread that is told has to run first."""
    threads = Path("/proc", str(pid), "task").glob("*/stat")
    return {thread.read_text().rpartition(")")[2].split()[0] for thread in threads} == {"T"}


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """One Spark session with Delta for all tests, set as for the scan: compiling the parse pass to Java takes longer than the tests."""
    with pytest.MonkeyPatch.context() as long_lived:
        for name, value in SHORT_LIVED.items():
            if os.environ.get(name) == value:
                long_lived.delenv(name)
        shared = session(settings.load(tmp_path_factory.mktemp("shared_home")), "tests", print, standing_tasks=2)
    with shared_plans(tmp_path_factory.mktemp("shared_plans")):
        yield scan_session(shared)
    shared.stop()


@pytest.fixture(scope="session")
def lending(spark: SparkSession) -> Callable[[], AbstractContextManager[None]]:
    """Within `lending()` a command that is called in this process works in the tests' session, where it would start one and end it."""

    @contextmanager
    def lent() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sessions, "session", lambda *_, **__: spark)
            patch.setattr(sessions, "ended", lambda *_: None)
            patch.setattr(SparkSession, "stop", lambda *_: None)
            yield

    return lent


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    """`until(condition)` returns when the condition holds and fails when it does not within 20 s."""

    def wait(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "the condition never came true"
            time.sleep(0.02)

    return wait
