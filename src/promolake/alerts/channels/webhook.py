"""Webhooks: Alertmanager's body, version 4, and alerts for a real Alertmanager (its API v2, openapi.yaml, POST /alerts)."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Literal

from promolake.alerts.channels.base import Channel, post
from promolake.alerts.message import Message
from promolake.alerts.secret import Secret

_FIRING_FOR = timedelta(days=1)


class Webhook(Channel):
    """A JSON POST to `base_url` (or the address in `url_secret`). With a `secret` the body is signed: X-Promolake-Signature is
    sha256=<its HMAC-SHA-256 in hex>."""

    type: Literal["webhook"]
    base_url: str = ""
    url_secret: Secret | None = None
    secret: Secret | None = None

    def send(self, message: Message) -> None:
        body = json.dumps(message.as_webhook(), sort_keys=True).encode()
        headers = {"Content-Type": "application/json", "X-Promolake-Notification": message.id}
        if self.secret:
            headers["X-Promolake-Signature"] = "sha256=" + hmac.new(self.secret.read().encode(), body, hashlib.sha256).hexdigest()
        post(self.url_secret.read() if self.url_secret else self.base_url, data=body, headers=headers)


class Alertmanager(Channel):
    """A real Alertmanager, which then groups and routes by its own configuration."""

    type: Literal["alertmanager"]
    base_url: str

    def send(self, message: Message) -> None:
        alerts = []
        for one in message.transitions:
            alert = one.as_alertmanager()
            # It forgets an alert that is not sent again, so it is told to keep it for a day: longer than a repeat_interval.
            ends = one.ends_at or datetime.now(UTC) + _FIRING_FOR
            kept = {key: alert[key] for key in ("labels", "annotations", "startsAt")}
            alerts.append(kept | {"endsAt": ends.strftime("%Y-%m-%dT%H:%M:%SZ")})
        post(f"{self.base_url}/api/v2/alerts", json=alerts)
