"""The life of an alert: inactive -> pending -> firing -> resolved, minute by minute of event time (Prometheus, "Alerting rules").

Pure: what comes out depends on the samples and the states before, never on a clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from promolake.alerts.rules import Condition
from promolake.alerts.samples import Labels, Sample

PENDING, FIRING, RESOLVED, INACTIVE = "pending", "firing", "resolved", "inactive"


@dataclass(frozen=True)
class State:
    """One alert of a rule. `since` is the minute it became hot, `last_hot` the latest minute it was not cool, `fired_at` when it fired."""

    status: str
    since: datetime
    last_hot: datetime
    fired_at: datetime | None = None
    value: float | None = None


@dataclass(frozen=True)
class Change:
    """An alert that begins to fire or is resolved in a minute."""

    labels: Labels
    status: str
    window: datetime
    state: State


def stepped(
    states: Mapping[Labels, State], samples: Mapping[Labels, Sample], condition: Condition, minute: datetime, is_over: bool
) -> tuple[dict[Labels, State], list[Change]]:
    """The states after a minute, and what changed. A minute that is not over can make an alert fire, but not cool it down.

    Labels without a sample are not hot, and cool. Changes come in the order of their labels.
    """
    after = dict(states)
    changes: list[Change] = []
    for labels in sorted({*states, *samples}):
        before, sample = states.get(labels), samples.get(labels)
        now = _next(before, sample, condition, minute, is_over)
        if now is None:
            after.pop(labels, None)
            if before and before.status == FIRING:
                changes.append(Change(labels, RESOLVED, minute, before))
            continue
        after[labels] = now
        if now.status == FIRING and (before is None or before.status != FIRING):
            changes.append(Change(labels, FIRING, minute, now))
    return after, changes


def _next(before: State | None, sample: Sample | None, condition: Condition, minute: datetime, is_over: bool) -> State | None:
    hot, cool = (sample.hot, sample.cool) if sample else (False, True)
    value = sample.value if sample else None
    if before is None or before.status == PENDING:
        if not hot:
            return before if before and not is_over else None
        since = before.since if before else minute
        ripe = minute - since >= condition.for_
        return State(FIRING if ripe else PENDING, since, minute, minute if ripe else None, value)
    if hot or not cool:
        return replace(before, last_hot=minute, value=value)
    if is_over and minute - before.last_hot > condition.keep_firing_for:
        return None
    return before
