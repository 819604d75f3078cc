"""A small promotion day with a shape, sent at once: a quiet evening, the rush at midnight, the night after. Always the same events."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from typing import Any

from promolake.producers.promotion import PromotionDay
from promolake.producers.sending import Sender
from promolake.producers.truth import Happening, Truth
from promolake.whole_file import write_whole

MIDNIGHT = datetime(2025, 11, 11, tzinfo=UTC)
SEED = 11
# (minutes from midnight, how many of them, messages a second)
EVENING = ((-30, 30, 3), (0, 10, 30), (10, 20, 12))
NIGHT = ((30, 60, 6),)
"""Comes after the evening has been taken in: what is late in it restates minutes that gold already shows."""

Acts = tuple[tuple[int, int, int], ...]


def send(acts: Acts, truth: Truth, bootstrap: str, say: Callable[[str], None]) -> int:
    """Sends the acts as fast as the broker takes them, adds them to `truth`, and returns how many messages they are. Raises BrokerAway."""
    sent = 0
    with Sender(bootstrap, say) as sender:
        for happening in _happenings(acts):
            sender.send(happening.message)
            truth.add(happening)
            sent += 1
    return sent


def write_report(truth: Truth, sent: int, file: Path) -> None:
    """The books of what gold must hold, as the simulator writes them."""
    report: dict[str, Any] = {"seed": SEED, "sent": sent, "finished": True, "truth": truth.report()}
    write_whole(file, json.dumps(report))


def _happenings(acts: Acts) -> Iterator[Happening]:
    for begins, minutes, rate in acts:
        start = MIDNIGHT + timedelta(minutes=begins)
        until = (start + timedelta(minutes=minutes)).timestamp() * 1000
        yield from takewhile(lambda happening, until=until: happening.at < until, PromotionDay(SEED, rate, start))
