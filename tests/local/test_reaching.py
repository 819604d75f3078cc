"""Which broker a command talks to, and that it leaves things as it found them."""

from __future__ import annotations

from pathlib import Path

import pytest

from promolake.engine.kafka import cluster_id
from promolake.local.broker import Broker
from promolake.local.reaching import reachable
from promolake.settings import Kafka, load


def test_a_configured_broker_is_taken_as_it_is(tmp_path: Path) -> None:
    settings = load(tmp_path).model_copy(update={"kafka": Kafka(bootstrap="kafka:9092")})
    with reachable(settings, print) as bootstrap:
        assert bootstrap == "kafka:9092"
    assert list(tmp_path.iterdir()) == []


def test_a_broker_that_runs_is_used_and_goes_on_running(broker: Broker) -> None:
    before = broker.status()
    said: list[str] = []
    with reachable(load(broker.directory.parents[1]), said.append) as bootstrap:
        assert bootstrap == before.bootstrap
    assert broker.status().pid == before.pid
    assert said == []


@pytest.mark.broker
def test_the_embedded_broker_is_started_for_as_long_as_it_is_needed(tmp_path: Path) -> None:
    said: list[str] = []
    with reachable(load(tmp_path), said.append) as bootstrap:
        assert cluster_id(bootstrap) is not None
        assert said[-1] == f"starting the Kafka broker at {bootstrap}"
    assert Broker(tmp_path).status() is None
    assert cluster_id(bootstrap) is None
