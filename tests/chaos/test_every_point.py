"""One kill at every fault point of every flow, one after another over one lake, which in the end holds exactly what was sent."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from random import Random

import pytest

from chaos import oracles, points, traffic
from chaos.ground import KILLED, Ground, Tally
from chaos.traffic import Sent
from promolake.local.broker import Broker

RECORDS_PER_BATCH = 200
AHEAD = 5 * RECORDS_PER_BATCH  # unread records each process finds
MESSAGES = 100_000
TROUBLE = {"POISONED": 0.05, "LATE": 0.03, "DUPLICATED": 0.03}
TRIES = 4  # what a point needs (an error event, a new minute, a broken metric) may be in no batch so far


@pytest.mark.chaos
def test_a_process_killed_at_any_point_loses_nothing_and_repeats_nothing(own_broker: Broker, tally: Tally, tmp_path: Path) -> None:
    bootstrap, sent = own_broker.status().bootstrap, Sent()
    happenings = iter(traffic.day(tally.seed, 4.0, MESSAGES, **TROUBLE))
    ground = Ground(tmp_path / "home", bootstrap, RECORDS_PER_BATCH, tally)
    scan, join = list(points.SCAN), list(points.JOIN)
    random = Random(tally.seed)
    random.shuffle(scan)
    random.shuffle(join)
    for place, point in enumerate([*scan, *join], 1):
        for _ in range(TRIES):
            if point in join:  # its turn comes when the scan has taken all
                sent.send(bootstrap, islice(happenings, 2 * RECORDS_PER_BATCH))
            elif (behind := sent.count - ground.read_count()) < AHEAD:
                sent.send(bootstrap, islice(happenings, AHEAD - behind))
            if (code := ground.once(die=point)) == KILLED:
                break
            assert code == 0, ground.told()
        assert (ground.journal()[-1].what, ground.journal()[-1].of) == ("died", point)
        print(f"{place} of {len(scan) + len(join)}: killed at {point}", flush=True)
    ground.finishes()
    deaths = [entry.of for entry in ground.journal() if entry.what == "died"]
    assert sorted(deaths) == sorted([*points.SCAN, *points.JOIN])
    # Settling is no batch: what it left unfinished is done anew by the next settling.
    assert len(ground.replayed()) >= len(points.SCAN) + 3 * len(points.JOINS)
    oracles.assert_whole(ground.lake, bootstrap, sent, tally)
    oracles.assert_every_sale_is_attributed_once(ground.lake)
    forwarded = oracles.forwarded(bootstrap)
    assert forwarded.keys() == oracles.error_ids(ground.lake)
    ground.assert_verified()
