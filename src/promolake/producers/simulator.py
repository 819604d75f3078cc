"""The simulator: a promotion day sent to Kafka in real time, with its ground truth written beside it.

It is open-loop: message n is due at start + n/rate whatever the broker does, and one that could not leave in time leaves as soon as it
can. A reader who measures from the intended time therefore sees every delay (no coordinated omission).
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from promolake.producers import clock
from promolake.producers.promotion import PromotionDay
from promolake.producers.sending import Sender
from promolake.producers.truth import Truth

SLICE_S = 0.02  # the sender wakes at most so often; what is due by then leaves together
REPORT_EVERY_S = 2.0
MARK_EVERY_MS = 50


def simulate(
    bootstrap: str,
    rate: float,
    report: Path,
    seed: int = 11,
    seconds: float | None = None,
    count: int | None = None,
    trouble: bool = True,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Sends `rate` messages a second for `seconds`, or `count` of them, or until SIGTERM or SIGINT; returns the report.

    `report` (JSON, replaced atomically every 2 s and at the end): `sent`, `finished` (every message was acknowledged) and
    `truth` (see Truth.report). Beside it, every 50 ms, `<report>.sales.csv`: intended send time (seconds since 1970), order lines and
    units sold by all messages due before it. Raises SettingsError, BrokerAway.
    """
    report.parent.mkdir(parents=True, exist_ok=True)
    began = int(time.time() * 1000)
    until = None if seconds is None else began + round(seconds * 1000)
    run = _Run(PromotionDay(seed, rate, datetime.fromtimestamp(began / 1000, UTC), trouble), report, {"seed": seed, "rate": rate})
    with _stop_signal() as stop, sales_file(report).open("w", encoding="ascii") as sales:
        try:
            with Sender(bootstrap, say) as sender:
                run.send(sender, sales, stop, count, until)
            run.finished = True
        finally:
            run.write_report()
    took = max(time.time() - began / 1000, 0.001)
    say(f"{run.sent} messages sent at {run.sent / took:.0f} a second, {run.truth.sale_count} order lines sold.")
    return run.as_json()


def sales_file(report: Path) -> Path:
    return report.with_name(report.name + ".sales.csv")


class _Run:
    """One day being sent: what left so far."""

    def __init__(self, day: PromotionDay, report: Path, about: dict[str, Any]) -> None:
        self._day = day
        self._report = report
        self._about = about | {"run": day.run}
        self.truth = Truth()
        self.sent = 0
        self.finished = False

    def send(self, sender: Sender, sales: IO[str], stop: threading.Event, count: int | None, until: int | None) -> None:
        offset = time.time() - time.monotonic()  # paced by a clock that nobody sets
        next_mark, next_report = 0, time.monotonic() + REPORT_EVERY_S
        for happening in self._day:
            due = happening.at / 1000 - offset
            if stop.is_set() or self.sent == count or (until is not None and happening.at >= until):
                break
            if (early := due - time.monotonic()) > 0 and stop.wait(max(early, SLICE_S)):
                break
            if happening.at >= next_mark:
                self._mark(sales, happening.at)
                next_mark = happening.at + MARK_EVERY_MS
            sender.send(happening.message)
            self.truth.add(happening)
            self.sent += 1
            if time.monotonic() > next_report:
                self.write_report()
                next_report = time.monotonic() + REPORT_EVERY_S
        self._mark(sales, happening.at)

    def _mark(self, sales: IO[str], at: int) -> None:
        """All that was due before `at` has been sold by now."""
        sales.write(f"{at / 1000:.3f},{self.truth.sale_count},{self.truth.unit_count}\n")
        sales.flush()

    def write_report(self) -> None:
        draft = self._report.with_name(self._report.name + ".new")
        draft.write_text(json.dumps(self.as_json()), encoding="utf-8")
        os.replace(draft, self._report)

    def as_json(self) -> dict[str, Any]:
        written = {
            "written_at": clock.iso_utc(int(time.time() * 1000)),
            "sent": self.sent,
            "finished": self.finished,
        }
        return self._about | written | {"truth": self.truth.report()}


@contextmanager
def _stop_signal() -> Iterator[threading.Event]:
    """Set by SIGTERM or SIGINT; a second SIGINT interrupts at once. Signals reach the main thread only: elsewhere it is never set."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
