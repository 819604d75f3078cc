"""The outbox keeps the time it is told: groups wait, speak, repeat; budgets become digests; failures back off and end as dead letters."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from alerts.conftest import MIDNIGHT
from promolake.alerts.message import Message
from promolake.alerts.outbox import BACKOFF_S, GIVE_UP_S, KEEP_S, Outbox
from promolake.alerts.routing import Policy

POLICY = Policy(
    "oncall", ("alertname",), timedelta(seconds=5), group_interval=timedelta(seconds=60), repeat_interval=timedelta(seconds=3600)
)
DAY = timedelta(days=1)


def row(name: str, status: str = "firing", minute: int = 0, alert: str = "IpFlood", taken_at: datetime = MIDNIGHT) -> dict[str, Any]:
    starts = MIDNIGHT + timedelta(minutes=minute)
    return {
        "alert_id": f"{name}-{minute}-{status}",
        "fingerprint": name,
        "alert": alert,
        "status": status,
        "labels": json.dumps({"alertname": alert, "ip": name}),
        "annotations": "{}",
        "value": 1.0,
        "starts_at": starts,
        "ends_at": starts + timedelta(minutes=1) if status == "resolved" else None,
        "rows_sql": "SELECT 1",
        "ingested_at": taken_at,
    }


class Box:
    """An outbox with one receiver of the channels `mail` and `chat`, whose time is in the test's hand."""

    def __init__(self, file: Path) -> None:
        self.outbox = Outbox(file)
        self.hold: Callable[[dict[str, str]], str] = lambda _: ""
        self.channels: Sequence[str] = ("mail",)

    def take(self, now: float, *rows: dict[str, Any], policy: Policy = POLICY) -> int:
        return self.outbox.take_in(rows, lambda _: [policy], DAY, now)

    def flush(self, now: float) -> int:
        return self.outbox.flush(now, lambda _: self.hold, lambda _: self.channels)

    def next(self, now: float, channel: str = "mail", per_minute: int = 0) -> Message | None:
        return self.outbox.next_message(channel, per_minute, now)

    def sent(self, now: float, channel: str = "mail", per_minute: int = 0) -> list[list[str]]:
        """Delivers all there is: the ids of the transitions of each message."""
        found = []
        while message := self.next(now, channel, per_minute):
            found.append([one.id for one in message.transitions])
            self.outbox.delivered(message, channel, now)
        return found


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path / "outbox.sqlite")
    yield made
    made.outbox.close()


def test_a_group_waits_for_company_then_speaks_once_for_all(box: Box) -> None:
    assert box.take(100, row("a")) == 1
    box.take(103, row("b"))
    assert box.flush(104.9) == 0
    assert box.flush(105) == 1
    assert box.sent(105) == [["a-0-firing", "b-0-firing"]]
    assert box.flush(106) == 0


@pytest.mark.parametrize(("taken_s_ago", "due_in_s"), [(0, 5), (3, 2), (5, 0), (600, 0), (-60, 5)])
def test_a_group_waits_from_when_its_batch_was_cut(box: Box, taken_s_ago: int, due_in_s: int) -> None:
    """A slow batch has kept it waiting already; one whose machine's clock is ahead is not waited for longer."""
    now = MIDNIGHT.timestamp() + taken_s_ago
    box.take(now, row("a"))
    if due_in_s:
        assert box.flush(now + due_in_s - 0.1) == 0
    assert box.flush(now + due_in_s) == 1


def test_the_same_transition_is_taken_in_once(box: Box) -> None:
    assert box.take(0, row("a")) == 1
    assert box.take(1, row("a"), row("a")) == 0
    box.flush(5)
    assert box.sent(5) == [["a-0-firing"]]


def test_a_group_that_changes_speaks_again_after_its_interval(box: Box) -> None:
    box.take(0, row("a"))
    box.flush(5)
    box.sent(5)
    box.take(10, row("a", "resolved"), row("b"))
    assert box.flush(64) == 0
    box.flush(65)
    assert box.sent(65) == [["a-0-resolved", "b-0-firing"]]


def test_what_still_fires_is_repeated_and_what_is_resolved_is_not(box: Box) -> None:
    box.take(0, row("a"), row("b"))
    box.flush(5)
    box.sent(5)
    box.take(10, row("b", "resolved"))
    box.flush(65)
    box.sent(65)
    assert box.flush(3664) == 0
    box.flush(3665)
    assert box.sent(3665) == [["a-0-firing"]]
    box.take(4000, row("a", "resolved"))
    box.flush(4005)
    assert box.sent(4005) == [["a-0-resolved"]]
    assert box.flush(99_999) == 0


def test_every_channel_of_the_receiver_gets_its_own(box: Box) -> None:
    box.channels = ("mail", "chat")
    box.take(0, row("a"))
    assert box.flush(5) == 2
    first, second = box.next(5, "mail"), box.next(5, "chat")
    assert first is not None
    assert second is not None
    assert first.id != second.id
    box.outbox.failed(first, "mail", "away", False, None, 5)
    assert box.sent(5, "chat") == [["a-0-firing"]]


def test_a_short_alert_is_told_though_it_is_over_by_then(box: Box) -> None:
    box.take(0, row("a"), row("a", "resolved"))
    box.flush(5)
    assert box.sent(5) == [["a-0-firing", "a-0-resolved"]]


def test_an_alert_held_back_is_told_when_nothing_holds_it_and_it_still_fires(box: Box) -> None:
    box.hold = lambda labels: "silenced" if labels["ip"] == "a" else ""
    box.take(0, row("a"), row("b"))
    box.flush(5)
    assert box.sent(5) == [["b-0-firing"]]
    box.hold = lambda _: ""
    box.flush(65)
    assert box.sent(65) == [["a-0-firing"]]


def test_an_alert_held_back_until_it_is_over_is_told_to_nobody_and_the_ledger_says_so(box: Box) -> None:
    box.hold = lambda _: "silenced"
    box.take(0, row("a"))
    box.flush(5)
    box.take(10, row("a", "resolved"))
    box.hold = lambda _: ""
    box.flush(70)
    sent = box.sent(70)
    assert ["a-0-firing"] not in sent
    assert sent == [], "nor is the end told of what nobody was told had begun"
    assert {(one["notification_id"], one["outcome"]) for one in box.outbox.history(10)} >= {("a-0-firing", "silenced")}


def test_the_end_of_an_alert_that_was_told_is_told_after_others_of_its_group_are_over(box: Box) -> None:
    box.take(0, row("a"), row("b"))
    box.flush(5)
    box.sent(5)
    box.take(10, row("b", "resolved"))
    box.flush(65)
    assert box.sent(65) == [["b-0-resolved"]]
    box.take(70, row("a", "resolved"))
    box.flush(125)
    assert box.sent(125) == [["a-0-resolved"]]
    box.take(200, row("a", minute=9))
    box.flush(205)
    assert box.sent(205) == [["a-9-firing"]]


def test_an_alert_about_long_ago_is_noted_and_told_to_nobody(box: Box) -> None:
    box.take(0, row("a", taken_at=MIDNIGHT + timedelta(days=2)), row("b", taken_at=MIDNIGHT + timedelta(hours=2)))
    box.flush(5)
    assert box.sent(5) == [["b-0-firing"]]
    assert [one["notification_id"] for one in box.outbox.history(10) if one["outcome"] == "past"] == ["a-0-firing"]


EACH = Policy("oncall", ("...",), timedelta(), timedelta(), timedelta(days=1))


def test_above_a_channels_budget_everything_due_becomes_one_digest_and_none_is_lost(box: Box) -> None:
    names = [f"n{n}" for n in range(500)]
    box.take(0, *(row(name) for name in names), policy=EACH)
    assert box.flush(0) == 500
    sent = box.sent(0, per_minute=20)
    assert len(sent) <= 20
    assert [len(one) for one in sent[:-1]] == [1] * (len(sent) - 1)
    assert sorted(one for message in sent for one in message) == sorted(f"{name}-0-firing" for name in names)
    box.take(1, *(row(name, minute=1) for name in names), policy=EACH)
    box.flush(1)
    later = [box.sent(now, per_minute=20) for now in (1, 30, 61)]
    assert sum(map(len, later[:2])) + len(sent) <= 20, "more than the budget in a minute"
    assert sorted(one for step in later for message in step for one in message) == sorted(f"{name}-1-firing" for name in names)


def test_failures_wait_twice_as_long_each_time_and_end_as_a_dead_letter_that_can_be_revived(box: Box) -> None:
    box.take(0, row("a"))
    box.flush(5)
    now, waits = 5.0, []
    while message := box.next(now):
        box.outbox.failed(message, "mail", "away", False, None, now)
        began = now
        while box.next(now) is None and box.outbox.counts()["mail"].get("due"):
            now += 0.5
        waits.append(now - began)
    assert waits[0] < 2 < 3 <= waits[3] <= 10
    assert max(waits) <= BACKOFF_S[1] * 1.2 + 1
    assert box.outbox.counts() == {"mail": {"dead": 1}}
    assert GIVE_UP_S <= now - 5 <= GIVE_UP_S + 2 * BACKOFF_S[1]
    assert box.outbox.revive() == 1
    assert box.sent(now) == [["a-0-firing"]]


def test_a_refusal_is_a_dead_letter_at_once_and_a_far_end_that_names_a_time_is_given_it(box: Box) -> None:
    box.take(0, row("a"), row("b"), policy=EACH)
    box.flush(0)
    first = box.next(0)
    assert first
    box.outbox.failed(first, "mail", "no", True, None, 0)
    assert box.outbox.counts() == {"mail": {"dead": 1, "due": 1}}
    second = box.next(0)
    assert second
    box.outbox.failed(second, "mail", "slow down", False, 40, 0)
    assert box.next(39.9) is None
    assert box.next(40) is not None


def test_what_is_over_is_forgotten_after_a_month_and_what_is_not_is_kept(box: Box) -> None:
    box.take(0, row("a"))
    box.flush(5)
    assert box.sent(6) == [["a-0-firing"]]
    box.take(7, row("a", "resolved", taken_at=MIDNIGHT + timedelta(minutes=1)), row("b", alert="Burst"))
    box.flush(70)
    assert box.sent(71) == [["a-0-resolved"], ["b-0-firing"]]
    month = MIDNIGHT.timestamp() + KEEP_S
    box.outbox.forget(month + 30)
    assert len(box.outbox.history(10)) == 0, "the tries were made about 1970"
    assert box.take(80, row("b", alert="Burst")) == 0, "it still fires"
    assert box.take(80, row("a", "resolved", taken_at=MIDNIGHT + timedelta(minutes=1))) == 0, "it is the youngest"
    assert box.outbox.taken_until == MIDNIGHT + timedelta(minutes=1)
    assert box.take(80, row("a")) == 1, "forgotten"


def test_the_outbox_survives_its_process(tmp_path: Path) -> None:
    one = Box(tmp_path / "outbox.sqlite")
    one.take(0, row("a"))
    one.flush(5)
    message = one.next(5)
    one.outbox.close()
    again = Box(tmp_path / "outbox.sqlite")
    assert again.next(6) == message, "the same message under the same id"
    assert again.outbox.taken_until == MIDNIGHT.astimezone(UTC)
    again.outbox.close()
