"""How often a token may be tried: what is tried wrongly from an address is held against that address, and nobody else waits for it."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

FAILURES_A_MINUTE = 10
ADDRESSES = 1000  # remembered; of more, those longest silent are forgotten


class TooManyTries(Exception):
    """An address has failed too often to be heard."""


@dataclass
class _Address:
    failures: deque[float] = field(default_factory=lambda: deque(maxlen=FAILURES_A_MINUTE))
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Tries:
    """The tries of every address. Those of one take turns, so that however many it sends, only one stands before another's."""

    def __init__(self) -> None:
        self._addresses: OrderedDict[str, _Address] = OrderedDict()
        self._one_at_a_time = asyncio.Lock()  # scrypt takes 16 MB and a core

    async def of(self, host: str, tried: Callable[[], str | None]) -> str | None:
        """What `tried` gives, in a thread; None is a failure. Raises TooManyTries instead after FAILURES_A_MINUTE of them from there."""
        address = self._remembered(_network(host))
        async with address.turn:
            if len(address.failures) == FAILURES_A_MINUTE and time.monotonic() - address.failures[0] < 60:
                raise TooManyTries
            async with self._one_at_a_time:
                found = await asyncio.to_thread(tried)
            if found is None:
                address.failures.append(time.monotonic())
            return found

    def _remembered(self, network: str) -> _Address:
        address = self._addresses.setdefault(network, _Address())
        self._addresses.move_to_end(network)
        if len(self._addresses) > ADDRESSES:
            self._addresses.popitem(last=False)
        return address


def _network(host: str) -> str:
    """Whose address it is: who has one of IPv6 has its whole /64. What is no address is nobody in particular."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ""
    if address.version == 4:
        return host
    return str(address.ipv4_mapped or ipaddress.ip_network((int(address) >> 64 << 64, 64)))
