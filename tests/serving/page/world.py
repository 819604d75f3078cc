"""A lake and what stands outside it, as the operations page looks at them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from promolake.hallway import HALLWAY
from promolake.serving.page.outside import Disk, Outside, Query, Silence
from promolake.serving.page.standing import Standing, Standings
from serving.conftest import Lake
from serving.page.home import NOW, filled, seconds

TOPICS = tuple(flow.topic.name for flow in HALLWAY.ingests)


def outside(**changes: object) -> Outside:
    """All is well: a run, a broker that holds 30 records no batch has read, one silence."""
    main = Query("main", 2, 2, seconds(10), seconds(7), (1.0, 2.0, 3.0), {"shop.orders": {0: 100, 1: 50}})
    well = Outside(
        at=NOW,
        running=(4711,),
        broker="127.0.0.1:9092",
        ends={("shop.orders", 0): 120, ("shop.orders", 1): 60, ("shop.views", 0): 0},
        queries=(main,),
        stopped={},
        silences=(Silence("s1", 'alertname="IpFlood"', seconds(60), NOW + timedelta(hours=1), "me", "load test"),),
        notifications={"wecom": {"delivered": 2}},
        deliveries=(),
        disk=Disk(seconds(20), {"lake": 2_000_000}, 400, 1000),
        versions={"promolake": "0.1.0", "Spark": "4.2.0"},
        lateness=timedelta(minutes=10),
    )
    return replace(well, **changes)


@dataclass
class World:
    """What is looked at; `outside` may be changed."""

    lake: Lake
    outside: Outside = field(default_factory=outside)

    @property
    def standings(self) -> Standings:
        return Standings(self.lake.root, TOPICS, lambda: self.outside)

    def now(self) -> Standing:
        return self.standings.now()

    def change(self, **changes: object) -> None:
        self.outside = replace(self.outside, **changes)


@pytest.fixture
def empty(lake: Lake) -> World:
    return World(lake)


@pytest.fixture
def world(lake: Lake) -> World:
    filled(lake)
    return World(lake)
