"""The far end every channel test talks to, and transitions to send."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from alerts.far_end import FarEnd, far_end
from promolake.alerts.message import Message, Transition

MIDNIGHT = datetime(2026, 11, 11, tzinfo=UTC)


@pytest.fixture
def end() -> Iterator[FarEnd]:
    with far_end() as server:
        yield server


def transition(n: int = 0, status: str = "firing", **labels: str) -> Transition:
    own = {"alertname": "IpFlood", "ip": f"192.0.2.{n}", "severity": "page"} | labels
    words = {"summary": f"{own['ip']} made 700 requests @all\n# now", "description": "<b>see</b>"}
    ends = MIDNIGHT + timedelta(minutes=5) if status == "resolved" else None
    return Transition(f"id{n}{status}", f"f{n}", status, own, words, 700.0, MIDNIGHT, ends, f"SELECT {n}")


def message(*transitions: Transition) -> Message:
    return Message("n-1", "everybody", {"alertname": "IpFlood"}, transitions or (transition(),))
