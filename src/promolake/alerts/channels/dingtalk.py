"""DingTalk's custom robot: signed, in Markdown (open.dingtalk.com, "Custom robot access", "Security settings" and "Message types")."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from typing import ClassVar, Literal

from promolake.alerts.channels.base import Channel, checked, post
from promolake.alerts.message import Message
from promolake.alerts.secret import Secret

TOO_FAST = frozenset({-1, 130101, 660026, 410100})  # the system is busy, or messages come too fast
LONGEST = 19_000  # bytes of a message the robot takes: 20,000


def signature(timestamp_ms: int, secret: str) -> str:
    """base64(HmacSHA256(secret, timestamp + newline + secret)); to be percent-encoded once, which `requests` does."""
    signed = hmac.new(secret.encode(), f"{timestamp_ms}\n{secret}".encode(), hashlib.sha256)
    return base64.b64encode(signed.digest()).decode()


class DingTalk(Channel):
    """`token` is the robot's access_token, `secret` its signing key (starts with SEC), `mobiles` whom to call by name."""

    type: Literal["dingtalk"]
    budget: ClassVar[int] = 20
    token: Secret
    secret: Secret | None = None
    mobiles: tuple[str, ...] = ()
    base_url: str = "https://oapi.dingtalk.com"

    def send(self, message: Message) -> None:
        query = {"access_token": self.token.read()}
        if self.secret:
            now = int(time.time() * 1000)
            query |= {"timestamp": str(now), "sign": signature(now, self.secret.read())}
        called = "".join(f" @{mobile}" for mobile in self.mobiles)
        text = message.markdown.encode()[:LONGEST].decode(errors="ignore") + called
        body = {
            "msgtype": "markdown",
            "markdown": {"title": message.title, "text": text},
            "at": {"atMobiles": list(self.mobiles), "isAtAll": False},
        }
        checked(post(f"{self.base_url}/robot/send", params=query, json=body), TOO_FAST)
