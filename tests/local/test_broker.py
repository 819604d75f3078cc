from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from kafka import KafkaConsumer

from promolake.core.errors import EnvironmentProblem
from promolake.engine.kafka import end_offsets, ensure_topics, producer
from promolake.local.broker import Broker, listens
from promolake.local.processes import Process


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker of this module, which its tests stop and start; it holds three records in `kept.events`."""
    mine = Broker(tmp_path_factory.mktemp("own broker, with a comma"))
    mine.start(print)
    ensure_topics(mine.status().bootstrap, ["kept.events"])
    send(mine.status().bootstrap, "kept.events", [b"one", b"two", b"three"])
    yield mine
    mine.stop()


def send(bootstrap: str, topic: str, values: list[bytes]) -> None:
    with producer(bootstrap) as sender:
        for value in values:
            sender.send(topic, value=value)
        sender.flush()


def record_count(broker: Broker, topic: str) -> int:
    return sum(end_offsets(broker.status().bootstrap, [topic]).values())


def processes_in(directory: Path) -> list[str]:
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            if Path(os.readlink(link)) == directory:
                found.append(link.parent.name)
    return found


def test_the_port_is_held_by_the_brokers_own_process(broker: Broker) -> None:
    status = broker.status()
    port = int(status.bootstrap.rpartition(":")[2])
    assert listens(status.pid, port)
    assert not listens(os.getpid(), port)


def test_what_is_produced_is_consumed(bootstrap: str) -> None:
    ensure_topics(bootstrap, ["broker.round_trip"])
    send(bootstrap, "broker.round_trip", [b"\x00\xff", "价格".encode()])
    consumer = KafkaConsumer("broker.round_trip", bootstrap_servers=bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=20_000)
    received = sorted(next(consumer).value for _ in range(2))
    consumer.close()
    assert received == [b"\x00\xff", "价格".encode()]


def test_starting_a_running_broker_changes_nothing(own: Broker) -> None:
    before = own.status()
    assert own.start(print) is False
    assert Broker(own.directory.parent.parent).start(print) is False
    assert (own.status().pid, own.status().bootstrap) == (before.pid, before.bootstrap)


def test_status_tells_uptime_and_what_the_data_take(own: Broker) -> None:
    status = own.status()
    assert 0 < status.uptime_s < 600
    # Kafka's indexes are sparse files of 10 MiB each: they must not count.
    assert 3 * 4096 <= status.data_bytes < 5_000_000


def test_a_stopped_broker_leaves_no_process_and_comes_back_at_its_address_with_its_data(own: Broker) -> None:
    before = own.status()
    assert Broker(own.directory.parent.parent).stop() is True  # another command than the one that started it
    assert own.status() is None
    assert processes_in(own.directory) == []
    assert own.stop() is False
    assert own.start(print) is True
    assert own.status().bootstrap == before.bootstrap
    assert record_count(own, "kept.events") == 3


def test_a_broker_whose_port_was_taken_meanwhile_moves_with_its_data(own: Broker) -> None:
    before = own.status().bootstrap
    own.stop()
    said: list[str] = []
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", int(before.rpartition(":")[2])))
        taken.listen()
        own.start(said.append)
        assert own.status().bootstrap != before
        assert any("is taken" in line for line in said)
        assert record_count(own, "kept.events") == 3


def test_a_tied_broker_dies_with_the_command_that_started_it_and_the_next_start_recovers(own: Broker, until) -> None:
    own.stop()
    home = own.directory.parent.parent
    code = f"""
        import time
        from pathlib import Path
        from promolake.local.broker import Broker
        broker = Broker(Path({str(home)!r}))
        broker.start(lambda line: None, tied=True)
        print(broker.status().pid, flush=True)
        time.sleep(600)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True) as command:
        tied = Process.of(int(command.stdout.readline()))
        assert tied.alive
        command.send_signal(signal.SIGKILL)
    until(lambda: not tied.alive)
    assert own.status() is None
    own.start(print)
    assert record_count(own, "kept.events") == 3


def test_a_broker_that_cannot_start_says_why_and_leaves_no_process(own: Broker) -> None:
    own.stop()
    meta = own.directory / "data" / "meta.properties"
    intact = meta.read_text()
    meta.write_text(re.sub(r"node\.id=1", "node.id=2", intact))
    try:
        with pytest.raises(EnvironmentProblem, match=r"(?i)node id.*2"):
            own.start(print)
        assert own.status() is None
        assert processes_in(own.directory) == []
    finally:
        meta.write_text(intact)


def test_a_home_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(EnvironmentProblem, match="cannot be written: Not a directory"):
        Broker(tmp_path / "home").start(print)
