"""Days on which everything is wrong that can be: broken rows, rows of the future, late rows, repetitions, bursts, OPTIMIZE meanwhile."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from deltalake import DeltaTable

from chaos import oracles, traffic
from chaos.ground import PATIENCE_S, Ground, Tally, kill
from chaos.traffic import JSON, Paced, Sent
from promolake.core.flow import Ingest
from promolake.engine.lakehouse import Lakehouse
from promolake.engine.lateness import ALLOWED, RESTATEMENTS
from promolake.engine.ledger import LEDGER
from promolake.gold import gmv_per_minute
from promolake.hallway import HALLWAY
from promolake.local.broker import Broker

EVENTS = 20_000
THREE_DAYS_MS = 3 * 24 * 3_600_000
TROUBLE = {"POISONED": 0.05, "LATE": 0.02, "DUPLICATED": 0.03, "LATEST_MS": THREE_DAYS_MS}
USUAL, BURST = 200.0, 2_000.0  # messages a second
OPTIMIZING = {"PROMOLAKE_MAINTENANCE__EVERY": "5 seconds", "PROMOLAKE_MAINTENANCE__SMALL_FILES": "2"}
CAUGHT_UP_WITHIN_S = 300.0
MOST_MEMORY = 3 * 1024**3

pytestmark = pytest.mark.chaos
Minutes = Counter[tuple[str, int, datetime]]


def test_a_day_of_broken_future_late_and_repeated_rows(own_broker: Broker, tally: Tally, tmp_path: Path) -> None:
    bootstrap, sent = own_broker.status().bootstrap, Sent()
    sent.send(bootstrap, traffic.with_the_future(traffic.day(tally.seed, 20.0, EVENTS, **TROUBLE), 1_000))
    ground = Ground(tmp_path / "home", bootstrap, 2_000, tally)
    ground.finishes()
    assert sum(reasons["ts_future"] for reasons in sent.reasons.values()) >= EVENTS // 1_000
    assert 0.04 < sum(reasons.total() for reasons in sent.reasons.values()) / sent.count < 0.06
    assert "failed in batch" not in ground.told()
    oracles.assert_whole(ground.lake, bootstrap, sent, tally)
    oracles.assert_every_sale_is_attributed_once(ground.lake)
    expected = late_by_minute(ground.lake)
    assert restated(ground.lake) == expected
    assert min(minute for _, _, minute in expected) < traffic.START.replace(day=9, hour=12), "nothing was days late"
    ground.assert_verified()


def test_a_burst_and_optimize_while_streaming(own_broker_too: Broker, tally: Tally, tmp_path: Path, until: Callable[..., None]) -> None:
    bootstrap, sent = own_broker_too.status().bootstrap, Sent()
    day = traffic.day(tally.seed + 1, 40.0, 26_000, **TROUBLE)
    sent.send(bootstrap, day[:1_000])
    ground = Ground(tmp_path / "home", bootstrap, 4_000, tally)
    child = ground.start("run", **OPTIMIZING)
    try:
        until(lambda: ground.ended(child), PATIENCE_S)
        for part, rate in ((day[1_000:5_000], USUAL), (day[5_000:25_000], BURST), (day[25_000:], USUAL)):
            with Paced(sent, bootstrap, part, rate):
                pass
        until(lambda: ground.has_taken(child, sent.count), CAUGHT_UP_WITHIN_S)
        assert memory(child.process.pid) < MOST_MEMORY
        ground.stopped(child)
    finally:
        kill(child)
    assert "failed" not in ground.told()
    history = DeltaTable(ground.lake.path(HALLWAY.ingests[0].bronze)).history()
    assert any(commit["operation"] == "OPTIMIZE" for commit in history), "no table was put together meanwhile"
    assert any(f"maintenance of {gmv_per_minute.TABLE.name}" in line for line in ground.told().splitlines())
    ground.finishes()
    oracles.assert_whole(ground.lake, bootstrap, sent, tally)
    oracles.assert_every_sale_is_attributed_once(ground.lake)
    ground.assert_verified()


@pytest.fixture
def own_broker_too(tmp_path: Path):
    own = Broker(tmp_path / "broker")
    own.start(print, tied=True)
    yield own
    own.stop()


def late_by_minute(lake: Lakehouse) -> Minutes:
    """Which rows are late, in plain Python from the raw bytes: of the topics whose messages say their event time as JSON."""
    found: Minutes = Counter()
    for flow in HALLWAY.ingests:
        if flow.topic.name in JSON:
            newest: datetime | None = None
            for batch, times in sorted(times_by_batch(lake, flow).items()):
                late = [time for time in times if newest is not None and time < newest - ALLOWED]
                found.update((flow.table.name, batch, time.replace(second=0, microsecond=0)) for time in late)
                newest = max([*times, *([newest] if newest else [])])
    return found


def times_by_batch(lake: Lakehouse, flow: Ingest) -> dict[int, list[datetime]]:
    """The event times of the valid rows of each batch."""
    ledger = lake.read(LEDGER, ("batch_id", "topic", "partition", "last_offset")).to_pylist()
    cuts = sorted((row for row in ledger if row["topic"] == flow.topic.name), key=lambda row: row["last_offset"])
    silver = lake.read(flow.table, ("partition", "offset")).to_pylist()
    valid = {(row["partition"], row["offset"]) for row in silver}
    found: dict[int, list[datetime]] = defaultdict(list)
    for row in lake.read(flow.bronze, ("partition", "offset", "value")).to_pylist():
        if (row["partition"], row["offset"]) in valid:
            cut = next(cut for cut in cuts if cut["partition"] == row["partition"] and row["offset"] <= cut["last_offset"])
            given = json.loads(row["value"])["event_time"]
            time = datetime.fromtimestamp(given / 1000, UTC) if isinstance(given, int) else datetime.fromisoformat(given).astimezone(UTC)
            found[cut["batch_id"]].append(time)
    return found


def restated(lake: Lakehouse) -> Minutes:
    found: Minutes = Counter()
    for row in lake.read(RESTATEMENTS, ("source", "batch_id", "window_start", "late_count")).to_pylist():
        found[row["source"], row["batch_id"], row["window_start"].astimezone(UTC)] += row["late_count"]
    of_json = {flow.table.name for flow in HALLWAY.ingests if flow.topic.name in JSON}
    return Counter({place: count for place, count in found.items() if place[0] in of_json})


def memory(pid: int) -> int:
    """The most memory the process and its JVM have held at once, in bytes."""
    pids = [pid, *(int(task) for task in Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    peaks = [line for one in pids for line in Path(f"/proc/{one}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return sum(int(line.split()[1]) * 1024 for line in peaks)
