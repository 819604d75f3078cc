"""The life of an alert: what fires, when, and for how long depends on the samples alone."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.conftest import MIDNIGHT
from promolake.alerts.rules import Condition
from promolake.alerts.samples import Sample
from promolake.alerts.states import State, stepped

ONE = ("x",)
MINUTE = timedelta(minutes=1)


def lived(samples: str, condition: Condition) -> list[tuple[int, str]]:
    """Minute by minute: h is hot, c is cool, - is neither (between the two), a dot is no sample. Out: what changed, and in which minute."""
    states: dict[tuple[str, ...], State] = {}
    seen: list[tuple[int, str]] = []
    for n, letter in enumerate(samples):
        minute = MIDNIGHT + n * MINUTE
        sample = Sample(minute, ONE, 1.0, letter == "h", letter == "c")
        states, changes = stepped(states, {} if letter == "." else {ONE: sample}, condition, minute, is_over=True)
        seen += [(n, change.status) for change in changes]
    return seen


def after(minutes: int, keep: int = 0) -> Condition:
    return Condition.model_validate({"for": timedelta(minutes=minutes), "keep_firing_for": timedelta(minutes=keep)})


@pytest.mark.parametrize(
    ("samples", "condition", "expected"),
    [
        ("chhhc", after(0), [(1, "firing"), (4, "resolved")]),
        ("chhhc", after(2), [(3, "firing"), (4, "resolved")]),
        ("chhc", after(2), []),
        ("hhchh", after(1), [(1, "firing"), (2, "resolved"), (4, "firing")]),
        ("h---c", after(0), [(0, "firing"), (4, "resolved")]),
        ("hccccc", after(0, keep=3), [(0, "firing"), (4, "resolved")]),
        ("hcchcccc", after(0, keep=3), [(0, "firing"), (7, "resolved")]),
        ("h.", after(0), [(0, "firing"), (1, "resolved")]),
        ("h.h", after(2), []),
        ("------", after(0), []),
    ],
)
def test_hot_long_enough_fires_and_cool_long_enough_resolves(samples: str, condition: Condition, expected: list[tuple[int, str]]) -> None:
    assert lived(samples, condition) == expected


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.text("hc-.", max_size=40), st.integers(0, 4), st.integers(0, 4))
def test_firing_and_resolved_take_turns_and_fire_only_after_lasting_heat(samples: str, lasting: int, keep: int) -> None:
    seen = lived(samples, after(lasting, keep))
    assert [status for _, status in seen] == (["firing", "resolved"] * len(seen))[: len(seen)]
    for minute, status in seen:
        if status == "firing":
            assert samples[minute - lasting : minute + 1] == "h" * (lasting + 1)
        else:
            assert set(samples[minute - keep : minute + 1]) <= {"c", "."}


def test_a_minute_that_is_not_over_can_fire_but_never_resolve() -> None:
    minute: datetime = MIDNIGHT
    hot, cool = Sample(minute, ONE, 9.0, True, False), Sample(minute, ONE, 1.0, False, True)
    states, changes = stepped({}, {ONE: hot}, after(0), minute, is_over=False)
    assert [change.status for change in changes] == ["firing"]
    states, changes = stepped(states, {ONE: cool}, after(0), minute, is_over=False)
    assert changes == []
    _, changes = stepped(states, {}, after(0), minute + MINUTE, is_over=True)
    assert [change.status for change in changes] == ["resolved"]
