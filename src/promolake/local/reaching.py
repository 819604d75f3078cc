"""Which broker a command talks to: the configured one, or the embedded one of the home, started for as long as it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from promolake.local.broker import Broker
from promolake.settings import Settings


@contextmanager
def reachable(settings: Settings, say: Callable[[str], None]) -> Iterator[str]:
    """`host:port` of the broker. The embedded one is started when it does not run, and then stopped at the end."""
    if settings.kafka.bootstrap:
        yield settings.kafka.bootstrap
        return
    broker = Broker(settings.home)
    started = broker.start(say, tied=True)
    try:
        status = broker.status()
        if status is None:
            raise RuntimeError("the embedded broker ended at once")
        yield status.bootstrap
    finally:
        if started:
            broker.stop()
