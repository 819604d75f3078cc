"""The dispatcher: a process beside the stream that takes transitions from ops.alerts and delivers them.

Each channel has a thread of its own: a slow or dead channel holds up neither the stream nor the others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from promolake.alerts.channels import Channel
from promolake.alerts.message import Message, Refused, TryLater
from promolake.alerts.outbox import Outbox, outbox_file
from promolake.alerts.routing import Hold, policies
from promolake.alerts.rules import AlertsFile, load
from promolake.alerts.silences import Silences
from promolake.core.errors import SettingsError

Feed = Callable[[datetime | None], Iterable[dict[str, Any]]]
"""The rows of ops.alerts of batches cut at or after a time, or all."""

POLL_S = 0.1
FORGET_EVERY_S = 6 * 3600.0
OVERLAP = timedelta(minutes=5)  # rows are looked at again so far back: the clock of the stream's machine may have been set back


class Dispatcher:
    """Delivers what `feed` brings by the routes of `file` (read again when it changes), with its outbox and silences under `home`."""

    def __init__(self, home: Path, file: Path, feed: Feed, say: Callable[[str], None]) -> None:
        self._home = home
        self._path = file
        self._feed = feed
        self._say = say
        self._changed_at = 0
        self._config = self._loaded()
        self._silences = Silences(home)
        self._outbox = Outbox(outbox_file(home))
        self._stopping = threading.Event()
        self._senders: dict[str, _Sender] = {}
        self._forgot_at = 0.0

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        """Until `stop`: what is in hand is finished first."""
        try:
            while not self._stopping.is_set():
                self._reload()
                self.tick(time.time())
                self._stopping.wait(POLL_S)
        finally:
            for sender in self._senders.values():
                sender.end()
            self._outbox.close()

    def tick(self, now: float) -> None:
        """Takes in what is new, lets due groups speak, and sees that every channel has its sender."""
        if now - self._forgot_at >= FORGET_EVERY_S:
            self._forgot_at = now
            self._outbox.forget(now)
        since = self._outbox.taken_until
        new = self._feed(since and since - OVERLAP)
        self._outbox.take_in(new, lambda labels: policies(self._config.route, labels), self._config.max_age, now)
        silences, instant = self._silences.all(), datetime.fromtimestamp(now, UTC)
        inhibit = self._config.inhibit_rules
        made = self._outbox.flush(
            now,
            lambda firing: Hold(firing, inhibit, silences, instant).why,
            lambda receiver: [c.name for one in self._config.receivers if one.name == receiver for c in one.channels],
        )
        for channel in (channel for one in self._config.receivers for channel in one.channels):
            channel = channel.at_home(self._home)
            known = self._senders.get(channel.name)
            if known is None or known.channel != channel:
                if known:
                    known.end()
                known = self._senders[channel.name] = _Sender(channel, outbox_file(self._home), self._say)
            if made:
                known.wake()

    def _loaded(self) -> AlertsFile:
        self._changed_at = self._path.stat().st_mtime_ns
        return load(self._path)

    def _reload(self) -> None:
        try:
            if self._path.stat().st_mtime_ns != self._changed_at:
                self._config = self._loaded()
        except (SettingsError, OSError) as error:
            self._say(f"{error} The routes before it stay in force.")


class _Sender:
    """One channel's thread."""

    def __init__(self, channel: Channel, outbox: Path, say: Callable[[str], None]) -> None:
        self.channel = channel
        self._file = outbox
        self._say = say
        self._awake = threading.Event()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name=f"channel-{channel.name}", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        self._awake.set()

    def end(self) -> None:
        self._ending = True
        self._awake.set()
        self._thread.join(timeout=15)

    def _run(self) -> None:
        outbox = Outbox(self._file)
        while not self._ending:
            message = outbox.next_message(self.channel.name, self.channel.limit, time.time())
            if message is None:
                self._awake.wait(POLL_S)
                self._awake.clear()
                continue
            self._deliver(outbox, message)
        outbox.close()

    def _deliver(self, outbox: Outbox, message: Message) -> None:
        name = self.channel.name
        try:
            self.channel.send(message)
        except Refused as error:
            self._say(f"{name} refused notification {message.id}: {error}")
            outbox.failed(message, name, str(error), True, None, time.time())
        except TryLater as error:
            self._say(f"{name} could not take notification {message.id}: {error}")
            outbox.failed(message, name, str(error), False, error.after_s, time.time())
        except Exception as error:  # a channel's own fault must not end its thread; its text may quote a secret
            self._say(f"{name} failed at notification {message.id}: {type(error).__name__}")
            outbox.failed(message, name, type(error).__name__, False, None, time.time())
        else:
            outbox.delivered(message, name, time.time())
