"""A token is tried as often as its address allows; what a stranger does costs the stranger."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import pytest

from promolake.serving.page import tries
from promolake.serving.page.tries import ADDRESSES, FAILURES_A_MINUTE, TooManyTries, Tries


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """`clock.now` is the time, in seconds."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(tries, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def is_heard(tried: Tries, host: str) -> bool:
    """One more wrong try."""
    try:
        asyncio.run(tried.of(host, lambda: None))
    except TooManyTries:
        return False
    return True


def silenced(tried: Tries, host: str) -> None:
    assert [is_heard(tried, host) for _ in range(FAILURES_A_MINUTE + 1)] == [True] * FAILURES_A_MINUTE + [False]


def test_an_address_is_heard_again_a_minute_after_its_first_failure(clock: SimpleNamespace) -> None:
    tried = Tries()
    silenced(tried, "192.0.2.1")
    clock.now += 59.9
    assert not is_heard(tried, "192.0.2.1")
    clock.now += 0.2
    assert is_heard(tried, "192.0.2.1")


def test_what_is_right_is_never_held_against_an_address() -> None:
    tried = Tries()
    assert [asyncio.run(tried.of("192.0.2.1", lambda: "wall")) for _ in range(3 * FAILURES_A_MINUTE)] == ["wall"] * 3 * FAILURES_A_MINUTE


@pytest.mark.parametrize(
    ("host", "same", "other"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"),  # a /64 is one customer's
        ("::ffff:192.0.2.1", "192.0.2.1", "::ffff:192.0.2.2"),
        ("no address", "", "192.0.2.1"),
    ],
)
def test_an_address_stands_for_itself_alone(host: str, same: str, other: str) -> None:
    tried = Tries()
    silenced(tried, host)
    assert not is_heard(tried, same)
    assert is_heard(tried, other)


def test_however_many_a_stranger_sends_at_once_only_one_stands_before_the_operator() -> None:
    order: list[str] = []
    going = threading.Event()

    async def at_once() -> None:
        tried = Tries()

        def guess() -> None:
            going.wait(10)
            order.append("stranger")

        def known() -> str:
            order.append("operator")
            return "boss"

        strangers = [asyncio.create_task(tried.of("203.0.113.9", guess)) for _ in range(100)]
        await asyncio.sleep(0)  # all of them wait
        operator = asyncio.create_task(tried.of("192.0.2.1", known))
        await asyncio.sleep(0)
        going.set()
        assert await operator == "boss"
        refused = await asyncio.gather(*strangers, return_exceptions=True)
        assert [type(one) for one in refused] == [type(None)] * FAILURES_A_MINUTE + [TooManyTries] * (100 - FAILURES_A_MINUTE)

    asyncio.run(at_once())
    assert order[:2] == ["stranger", "operator"]


def test_only_so_many_addresses_are_remembered_and_those_longest_silent_are_forgotten() -> None:
    tried = Tries()
    silenced(tried, "192.0.2.1")
    silenced(tried, "192.0.2.2")
    for n in range(ADDRESSES - 2):
        assert is_heard(tried, f"10.0.{n // 256}.{n % 256}")
    assert not is_heard(tried, "192.0.2.1")  # remembered, and now the last to be heard of
    assert is_heard(tried, "10.1.0.0")  # in place of 192.0.2.2
    assert not is_heard(tried, "192.0.2.1")
    assert is_heard(tried, "192.0.2.2")
    assert len(tried._addresses) == ADDRESSES
