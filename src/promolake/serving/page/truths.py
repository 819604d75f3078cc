"""What an operator must know first, in sentences: whether anything runs, what is not known, what is old, what was given up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from promolake.serving.page.saying import Saying
from promolake.serving.page.standing import Standing

OLD = timedelta(minutes=1)  # since the last batch, while records wait
LITTLE_DISK = 0.1


@dataclass(frozen=True)
class Truth:
    level: Literal["good", "warn", "bad"]
    sentence: str


def truths(standing: Standing, say: Saying) -> list[Truth]:
    """The sentences, the two that are always said first: who writes the lake, and whether the broker answers."""
    return [_run(standing, say), _broker(standing, say), *_waiting(standing, say), *_given_up(standing, say)]


def _run(standing: Standing, say: Saying) -> Truth:
    newest = max((query.done_at for query in standing.outside.queries if query.done_at), default=None)
    if not standing.outside.running:
        return Truth("bad", say("ops_no_run", age=say.age(newest)))
    return Truth("good", say("ops_run", pids=", ".join(map(str, standing.outside.running)), age=say.age(newest)))


def _broker(standing: Standing, say: Saying) -> Truth:
    if not standing.outside.broker:
        return Truth("bad", say("ops_no_broker"))
    if standing.outside.ends is None:
        return Truth("bad", say("ops_broker_away", broker=standing.outside.broker))
    return Truth("good", say("ops_broker", broker=standing.outside.broker))


def _waiting(standing: Standing, say: Saying) -> list[Truth]:
    """Records wait, or a batch takes long, or was left in hand when the run ended."""
    found = []
    lag = sum(topic.lag or 0 for topic in standing.topics)
    newest = max((query.done_at for query in standing.outside.queries if query.done_at), default=None)
    if lag and (newest is None or standing.at - newest > OLD):
        found.append(Truth("bad", say("ops_waiting", n=say.count(lag), age=say.age(newest))))
    for query in standing.outside.queries:
        since = query.in_hand_since
        if since and (standing.at - since > OLD or not standing.outside.running):
            key = "ops_in_hand" if standing.outside.running else "ops_left_in_hand"
            found.append(Truth("warn", say(key, query=query.name, batch=query.planned, age=say.age(since))))
    return found


def _given_up(standing: Standing, say: Saying) -> list[Truth]:
    outside = standing.outside
    found = [Truth("bad", say("ops_stopped", table=name, batch=batch)) for name, batch in outside.stopped.items()]
    found += [Truth("bad", say("ops_unreadable", table=name)) for name in standing.unreadable]
    if standing.audit and (broken := standing.audit.counts.get(("critical", False), 0)):
        found.append(Truth("bad", say("ops_audit_broken", n=broken, age=say.age(standing.audit.at))))
    if dead := sum(states.get("dead", 0) for states in outside.notifications.values()):
        found.append(Truth("warn", say("ops_dead_letters", n=dead)))
    if outside.disk.free < LITTLE_DISK * outside.disk.size:
        found.append(Truth("bad", say("ops_little_disk", free=say.size(outside.disk.free))))
    return found
