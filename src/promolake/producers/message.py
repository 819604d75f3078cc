"""What a producer sends."""

from __future__ import annotations

from typing import NamedTuple


class Message(NamedTuple):
    """One Kafka record before it is sent. Equal fields are equal bytes on the wire."""

    topic: str
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()
