"""Messages reach a real broker, and what is written beside them says exactly what was sent."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from faults import Hanging
from promolake.core.errors import BrokerAway
from promolake.engine.kafka import end_offsets, ensure_topics
from promolake.producers import sending
from promolake.producers.mapping import Mapping
from promolake.producers.message import Message
from promolake.producers.replay import replay
from promolake.producers.simulator import sales_file, simulate
from promolake.sources import TOPICS

NOBODY = "127.0.0.1:1"
VIEWS = Mapping.model_validate(
    {"topic": "shop.views", "format": "lines", "fields": {"event_time": {"constant": "2026-01-01T00:00:00Z"}, "product_id": "$text"}}
)


def quiet(_: str) -> None:
    pass


def held(bootstrap: str) -> int:
    """Records of all promised topics."""
    ensure_topics(bootstrap, [topic.name for topic in TOPICS])
    return sum(end_offsets(bootstrap, [topic.name for topic in TOPICS]).values())


@pytest.mark.broker
def test_a_simulation_sends_what_its_report_says(bootstrap: str, tmp_path: Path) -> None:
    before = held(bootstrap)
    report = simulate(bootstrap, rate=2_000, report=tmp_path / "new" / "report.json", seed=3, count=1_500, say=quiet)
    assert held(bootstrap) - before == report["sent"] == 1_500
    assert sum(counts["sent"] for counts in report["truth"]["topics"].values()) == 1_500
    assert report["finished"]
    assert json.loads((tmp_path / "new" / "report.json").read_text()) == report | {
        "written_at": json.loads((tmp_path / "new" / "report.json").read_text())["written_at"]
    }


@pytest.mark.broker
def test_the_sales_file_counts_up_to_the_truth_every_50_ms(bootstrap: str, tmp_path: Path) -> None:
    held(bootstrap)
    report = simulate(bootstrap, rate=2_000, report=tmp_path / "report.json", seed=3, seconds=1, say=quiet)
    marks = [line.split(",") for line in sales_file(tmp_path / "report.json").read_text().splitlines()]
    times = [Decimal(time) for time, _, _ in marks]
    counts = [(int(sales), int(units)) for _, sales, units in marks]
    figures = report["truth"]["orders"].values()
    assert counts == sorted(counts)
    assert counts[0] == (0, 0)
    assert counts[-1] == (sum(figure["sale_count"] for figure in figures), sum(figure["unit_count"] for figure in figures))
    assert {later - earlier for earlier, later in pairwise(times)} == {Decimal("0.050")}
    assert len(marks) == 21


@pytest.mark.broker
def test_sigterm_ends_a_simulation_with_everything_sent_and_reported(bootstrap: str, tmp_path: Path, until: Callable[..., None]) -> None:
    before = held(bootstrap)
    report_file = tmp_path / "report.json"

    def terminate() -> None:
        until(lambda: sales_file(report_file).exists() and sales_file(report_file).read_text().count("\n") > 3)
        os.kill(os.getpid(), signal.SIGTERM)

    killer = threading.Thread(target=terminate)
    killer.start()
    report = simulate(bootstrap, rate=500, report=report_file, seed=3, say=quiet)
    killer.join()
    assert report["finished"]
    assert held(bootstrap) - before == report["sent"] > 50
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_without_a_broker_both_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "PATIENCE_S", 0)
    (tmp_path / "f").write_text("p1\n")
    with pytest.raises(BrokerAway):
        simulate(NOBODY, rate=10, report=tmp_path / "report.json", count=1, say=quiet)
    with pytest.raises(BrokerAway):
        replay([tmp_path / "f"], VIEWS, NOBODY, say=quiet)


@pytest.mark.broker
def test_a_replay_sends_every_row_but_one_larger_than_kafka_takes(bootstrap: str, tmp_path: Path) -> None:
    before = held(bootstrap)
    file = tmp_path / "f"
    file.write_text("p1\n" + "x" * (1 << 20) + "\np2\n")
    report = replay([file], VIEWS, bootstrap, say=quiet)
    assert held(bootstrap) - before == report.sent == 2
    assert report.listed == [f"{file}:2 is larger than Kafka takes"]
    assert report.summary == (
        "2 of 3 rows from 1 files sent, 0 left out by the mapping's where. 1 are larger than Kafka takes and were not sent."
    )


@pytest.mark.broker
def test_a_replay_is_paced_by_its_rate(bootstrap: str, tmp_path: Path) -> None:
    held(bootstrap)
    (tmp_path / "f").write_text("p\n" * 51)
    began = time.monotonic()
    replay([tmp_path / "f"], VIEWS, bootstrap, rate=100, say=quiet)
    assert time.monotonic() - began >= 0.5


@pytest.mark.broker
def test_a_broker_that_no_longer_answers_is_named_with_how_many_messages_it_has_not_taken(
    bootstrap: str, hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "FLUSH_S", 0.3)
    monkeypatch.setattr(sending, "CLOSE_S", 0.1)
    ensure_topics(bootstrap, ["test.hanging"])
    sender = sending.Sender(bootstrap, quiet)
    sender.send(Message("test.hanging", None, b"taken"))
    sender._producer.flush()
    with hanging():
        sender.send(Message("test.hanging", None, b"not taken"))
        with pytest.raises(BrokerAway, match=r"1 messages were not acknowledged \(KafkaTimeoutError\)"):
            sender.__exit__(None)
    sender._producer.close()  # it answers again
