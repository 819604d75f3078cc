"""The dispatcher as a process: killed, with a dead channel beside a living one, it loses no transition and repeats one per kill at most."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from alerts.far_end import HANG, FarEnd, far_end
from alerts.test_outbox import row
from promolake.alerts.outbox import Outbox, outbox_file
from promolake.alerts.tables import ALERTS
from promolake.engine.arrow import arrow_schema
from promolake.engine.lakehouse import Lakehouse, Txn

KILLS = 10
TRANSITIONS = 10_000
CONFIG = """
route: {{receiver: both, group_by: [alertname], group_wait: 0s, group_interval: 0s, repeat_interval: 1d}}
receivers:
  - name: both
    channels:
      - {{type: webhook, name: hook, base_url: "{hook}"}}
      - {{type: webhook, name: dead, base_url: "{dead}"}}
"""


class Dispatching:
    """`promolake alerts dispatch` over a home, started and killed by the test."""

    def __init__(self, home: Path, config: str) -> None:
        self.home = home
        self.lake = Lakehouse(home / "lake")
        self.file = home / "alerts.yaml"
        self.file.write_text(config)
        self.batch = 0

    def start(self) -> None:
        command = [sys.executable, "-m", "promolake.cli", "--home", str(self.home), "alerts", "dispatch"]
        environment = dict(os.environ) | {"PROMOLAKE_ALERTS__FILE": str(self.file)}
        with (self.home / "dispatch.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def happen(self, count: int) -> set[str]:
        """Transitions of a micro-batch, in ops.alerts; returns their ids."""
        now = datetime.now(UTC)
        rows = [row(f"b{self.batch}n{n}", taken_at=now) | {"starts_at": now - timedelta(minutes=1)} for n in range(count)]
        self.lake.append(ALERTS, pa.Table.from_pylist(rows, schema=arrow_schema(ALERTS)), Txn("test", self.batch))
        self.batch += 1
        return {one["alert_id"] for one in rows}


def alerts_of(end: FarEnd) -> list[str]:
    return [alert["annotations"]["alert_id"] for request in end.requests for alert in request.json["alerts"]]


def test_ten_thousand_transitions_and_ten_kills_lose_none_and_repeat_one_each_at_most(tmp_path: Path, until: Callable[..., None]) -> None:
    """Each kill falls between the far end's taking a message and the dispatcher's hearing of it: the one place that can repeat."""
    with far_end() as hook, far_end() as dead:
        dead.otherwise = HANG
        dispatching = Dispatching(tmp_path, CONFIG.format(hook=hook.url, dead=dead.url))
        expected: set[str] = set()
        for kill in range(KILLS):
            hook.script = [HANG]
            before = len(hook.requests)
            expected |= dispatching.happen(TRANSITIONS // KILLS)
            dispatching.start()
            until(lambda before=before: len(hook.requests) > before)
            dispatching.kill()
            assert len(hook.requests) == before + 1, f"kill {kill} did not fall into a delivery"
        dispatching.start()
        until(lambda: set(alerts_of(hook)) == expected, 60)
        until(lambda: Outbox(outbox_file(tmp_path)).counts()["hook"].get("due", 0) == 0)
        ids = Counter(request.json["notificationId"] for request in hook.requests)
        assert sum(ids.values()) - len(ids) == KILLS, "each kill repeats the message it fell into, under its id, and no other"
        assert dead.requests, "the dead channel was tried all the while"
        dispatching.process.send_signal(signal.SIGTERM)
        assert dispatching.process.wait(timeout=30) == 0


def test_a_second_dispatcher_on_the_same_home_stands_by_until_the_first_ends(tmp_path: Path, until: Callable[..., None]) -> None:
    with far_end() as hook:
        first = Dispatching(tmp_path, CONFIG.format(hook=hook.url, dead=hook.url))
        first.happen(1)
        first.start()
        until(lambda: len(hook.requests) == 2)
        second = Dispatching(tmp_path, first.file.read_text())
        second.start()
        until(lambda: "stands by" in (tmp_path / "dispatch.log").read_text(), 30)
        first.happen(1)
        until(lambda: len(hook.requests) == 4)
        first.process.send_signal(signal.SIGTERM)
        assert first.process.wait(timeout=30) == 0
        first.happen(1)
        until(lambda: len(hook.requests) == 6, 30)
        second.process.send_signal(signal.SIGTERM)
        assert second.process.wait(timeout=30) == 0
        assert json.loads(hook.requests[0].body)["version"] == "4"
