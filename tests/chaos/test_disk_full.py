"""The disk under a running stream is full, and after a while it is not: loud meanwhile, right afterwards."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import pytest

from chaos import oracles, traffic
from chaos.ground import PATIENCE_S, Ground, Tally, kill
from chaos.traffic import Sent
from promolake.engine.supervision import ATTEMPTS
from promolake.local.broker import Broker

RECORDS_PER_BATCH = 500
RESTARTS = ATTEMPTS + 1  # more than a flow is given that may never heal


def mount(*command: str) -> None:
    done = subprocess.run(["mount", *command], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own of 256 MB, in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    mount("-t", "tmpfs", "-o", "size=256m", "promolake-chaos", str(place))
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.chaos
def test_a_full_disk_is_loud_and_corrupts_nothing(
    disk: Path, own_broker: Broker, tally: Tally, until: Callable[..., None]
) -> None:
    bootstrap, sent = own_broker.status().bootstrap, Sent()
    happenings = iter(traffic.day(tally.seed, 20.0, 6_000))
    sent.send(bootstrap, islice(happenings, 2_000))
    ground = Ground(disk / "home", bootstrap, RECORDS_PER_BATCH, tally)
    ground.journal_file, ground.log = disk.parent / "journal", disk.parent / "log"  # they are the tests' own
    child = ground.start("run")
    try:
        until(lambda: ground.ended(child) >= 2, PATIENCE_S)
        fill(disk)
        sent.send(bootstrap, islice(happenings, 2_000))
        until(lambda: ground.told().count("starting main again") >= RESTARTS or child.exit_code is not None, PATIENCE_S)
        assert child.exit_code is None, ground.told()
        (disk / "filler").unlink()
        mount("-o", "remount,size=1g", str(disk))
        sent.send(bootstrap, happenings)
        until(lambda: ground.has_taken(child, sent.count), PATIENCE_S)
        ground.stopped(child)
    finally:
        kill(child)
        print(ground.told())
    assert "stopped; the others go on" not in ground.told()
    ground.finishes()
    oracles.assert_whole(ground.lake, bootstrap, sent, tally)
    oracles.assert_every_sale_is_attributed_once(ground.lake)
    ground.assert_verified()


def fill(disk: Path) -> None:
    """Leaves not a byte."""
    with (disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while filler.write(bytes(4096)):
            pass
    assert os.statvfs(disk).f_bavail == 0
