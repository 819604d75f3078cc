"""The broker is killed, or stands still, while messages arrive: what it acknowledged is neither lost nor counted twice."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chaos import oracles, traffic
from chaos.ground import KILLED, PATIENCE_S, Ground, Tally, kill
from chaos.traffic import Paced, Sent
from promolake.local.broker import Broker
from promolake.local.processes import Child

MESSAGES = 8_000
RATE = 150.0
RECORDS_PER_BATCH = 1_000
RESTARTS = 3  # of the query, for one fault: more would be a storm
PAUSE_S = 15.0

pytestmark = pytest.mark.chaos


class Flowing:
    """Messages arrive at a broker, and a running stream takes them in."""

    def __init__(self, broker: Broker, ground: Ground, child: Child, sent: Sent, until: Callable[..., None]) -> None:
        self.broker = broker
        self.ground = ground
        self.child = child
        self.sent = sent
        self._until = until
        self.pid = broker.status().pid

    def more_batches(self, count: int = 2) -> None:
        before = self.ground.ended(self.child)
        self._until(lambda: self.ground.ended(self.child) >= before + count, PATIENCE_S)

    def all_is_taken(self) -> None:
        self._until(lambda: self.ground.has_taken(self.child, self.sent.count), PATIENCE_S)

    def assert_whole(self) -> None:
        assert self.ground.told().count("starting main again") <= RESTARTS, self.ground.told()
        self.ground.stopped(self.child)
        self.ground.finishes()
        oracles.assert_whole(self.ground.lake, self.ground.bootstrap, self.sent, self.ground.tally)
        oracles.assert_every_sale_is_attributed_once(self.ground.lake)


@pytest.fixture
def flowing(tmp_path: Path, tally: Tally, until: Callable[..., None]) -> Iterator[Flowing]:
    broker = Broker(tmp_path / "broker")
    broker.start(print, tied=True)
    ground = Ground(tmp_path / "home", broker.status().bootstrap, RECORDS_PER_BATCH, tally)
    sent = Sent()
    sent.send(ground.bootstrap, traffic.day(tally.seed + 1, 4.0, 100))  # so that there is a first batch
    child = ground.start("run")
    try:
        until(lambda: ground.ended(child), PATIENCE_S)
        yield Flowing(broker, ground, child, sent, until)
    finally:
        kill(child)
        broker.stop()


def test_a_broker_killed_and_started_again(flowing: Flowing, tally: Tally, until: Callable[..., None]) -> None:
    with Paced(flowing.sent, flowing.ground.bootstrap, traffic.day(tally.seed, 40.0, MESSAGES), RATE) as sender:
        flowing.more_batches()
        process = flowing.broker._child
        os.kill(flowing.pid, signal.SIGKILL)
        until(lambda: process.exit_code == KILLED)  # only then its ports are free: its threads outlive the sign of death
        assert flowing.broker.status() is None
        assert sender.is_sending, "nobody sent while the broker was away"
        flowing.broker.start(print, tied=True)
        assert flowing.broker.status().bootstrap == flowing.ground.bootstrap
        flowing.more_batches()
    flowing.all_is_taken()
    flowing.assert_whole()


def test_a_broker_that_stands_still_for_a_while(flowing: Flowing, tally: Tally, until: Callable[..., None]) -> None:
    with Paced(flowing.sent, flowing.ground.bootstrap, traffic.day(tally.seed, 40.0, MESSAGES), RATE) as sender:
        flowing.more_batches()
        os.kill(flowing.pid, signal.SIGSTOP)
        try:
            until(lambda: state(flowing.pid) == "T")
            due = time.monotonic() + PAUSE_S
            until(lambda: time.monotonic() > due, PAUSE_S + 20)
            assert sender.is_sending, "nobody sent while the broker stood still"
        finally:
            os.kill(flowing.pid, signal.SIGCONT)
        flowing.more_batches()
    flowing.all_is_taken()
    flowing.assert_whole()


def state(pid: int) -> str:
    """R, S, T ... (proc(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
