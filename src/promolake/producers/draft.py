"""A message before its bytes are made, so that it can also be made wrong on purpose."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from promolake.producers.message import Message
from promolake.producers.truth import Line, Logged, Request


class Draft(NamedTuple):
    """`payload` is a dict for JSON topics, else the raw text. `key` is None where it is not known."""

    topic: str
    event_id: str
    key: str | None
    payload: dict[str, Any] | str
    fact: Line | Request | Logged | None = None

    def message(self, value: bytes | None = None) -> Message:
        """The message, with other bytes where `value` is given."""
        headers = () if isinstance(self.payload, dict) else (("event_id", self.event_id.encode()),)
        key = None if self.key is None else self.key.encode()
        return Message(self.topic, key, encoded(self.payload) if value is None else value, headers)


def encoded(payload: dict[str, Any] | str) -> bytes:
    return (payload if isinstance(payload, str) else _ENCODE(payload)).encode()


_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
