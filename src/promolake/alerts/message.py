"""What a channel is asked to deliver, and how delivering can fail."""

from __future__ import annotations

import html
from dataclasses import dataclass
from datetime import datetime
from typing import Any

NOT_ENDED = "0001-01-01T00:00:00Z"  # Alertmanager's zero time
LISTED = 20  # alerts named in a text; a webhook is given all of them


class Refused(Exception):
    """The other end will never take this message. The text holds no secret and no payload."""


class TryLater(Exception):
    """The other end cannot take it now; `after_s` is when it asked to be tried again, if it did."""

    def __init__(self, text: str, after_s: float | None = None) -> None:
        super().__init__(text)
        self.after_s = after_s


@dataclass(frozen=True)
class Transition:
    """An alert that has begun to fire or was resolved; `id` is made of data alone, so that the same transition is never another."""

    id: str
    fingerprint: str
    status: str  # firing or resolved
    labels: dict[str, str]
    annotations: dict[str, str]
    value: float | None
    starts_at: datetime
    ends_at: datetime | None
    rows_sql: str

    @property
    def name(self) -> str:
        return self.labels["alertname"]

    @property
    def summary(self) -> str:
        return self.annotations.get("summary") or self.name

    def as_alertmanager(self) -> dict[str, Any]:
        """The alert as Alertmanager's webhook has it (Alertmanager, "Configuration", <webhook_config>)."""
        return {
            "status": self.status,
            "labels": self.labels,
            "annotations": self.annotations | {"rows_sql": self.rows_sql, "alert_id": self.id},
            "startsAt": _instant(self.starts_at),
            "endsAt": _instant(self.ends_at) if self.ends_at else NOT_ENDED,
            "generatorURL": "",
            "fingerprint": self.fingerprint[:16],
        }


@dataclass(frozen=True)
class Message:
    """One notification: the transitions of a group, or of several when a channel's budget is used up (a digest).

    `id` is the same however often it is sent: whoever gets it twice can tell.
    """

    id: str
    receiver: str
    group_labels: dict[str, str]
    transitions: tuple[Transition, ...]
    is_digest: bool = False

    @property
    def status(self) -> str:
        return "firing" if any(one.status == "firing" for one in self.transitions) else "resolved"

    @property
    def title(self) -> str:
        counts = {status: sum(one.status == status for one in self.transitions) for status in ("firing", "resolved")}
        if len(self.transitions) == 1:
            return f"[{self.status.upper()}] {self.transitions[0].summary}"
        said = ", ".join(f"{n} {status}" for status, n in counts.items() if n)
        names = sorted({one.name for one in self.transitions})
        return f"[{'DIGEST' if self.is_digest else self.status.upper()}] {said}: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"

    @property
    def text(self) -> str:
        """Plain text, the first LISTED alerts one by one."""
        lines = [self.title, ""]
        for one in self.transitions[:LISTED]:
            lines += [f"{one.status}: {one.summary}", *([one.annotations["description"]] if "description" in one.annotations else [])]
            lines += [f"  since {_instant(one.starts_at)}" + (f" until {_instant(one.ends_at)}" if one.ends_at else "")]
            lines += [f"  rows: {one.rows_sql}", ""]
        if len(self.transitions) > LISTED:
            lines += [f"and {len(self.transitions) - LISTED} more: promolake alerts history", ""]
        return "\n".join([*lines, f"notification {self.id}"])

    @property
    def markdown(self) -> str:
        lines = [f"### {plain(self.title)}"]
        for one in self.transitions[:LISTED]:
            mark = "**firing**" if one.status == "firing" else "resolved"
            lines.append(f"- {mark} {plain(one.summary)}, since {_instant(one.starts_at)}")
            if "description" in one.annotations:
                lines.append(f"  {plain(one.annotations['description'])}")
        if len(self.transitions) > LISTED:
            lines.append(f"- and {len(self.transitions) - LISTED} more")
        return "\n".join([*lines, "", f"notification {self.id}"])

    @property
    def html(self) -> str:
        rows = "".join(
            f"<tr><td>{one.status}</td><td>{html.escape(one.summary)}<br>{html.escape(one.annotations.get('description', ''))}</td>"
            f"<td>{_instant(one.starts_at)}</td><td><code>{html.escape(one.rows_sql)}</code></td></tr>"
            for one in self.transitions[:LISTED]
        )
        more = f"<p>and {len(self.transitions) - LISTED} more</p>" if len(self.transitions) > LISTED else ""
        head = "<tr><th>status</th><th>alert</th><th>since (UTC)</th><th>rows behind it</th></tr>"
        return f"<h3>{html.escape(self.title)}</h3><table border=1 cellpadding=4>{head}{rows}</table>{more}<p>notification {self.id}</p>"

    def as_webhook(self) -> dict[str, Any]:
        """Alertmanager's webhook body, version 4, with every transition."""
        alerts = [one.as_alertmanager() for one in self.transitions]
        return {
            "version": "4",
            "groupKey": f"{{}}:{{{', '.join(f'{k}={v!r}' for k, v in sorted(self.group_labels.items()))}}}",
            "truncatedAlerts": 0,
            "status": self.status,
            "receiver": self.receiver,
            "groupLabels": self.group_labels,
            "commonLabels": _common(one.labels for one in self.transitions),
            "commonAnnotations": _common(one.annotations for one in self.transitions),
            "externalURL": "",
            "alerts": alerts,
            "notificationId": self.id,
        }


def plain(text: str) -> str:
    """A text from outside inside Markdown: no line breaks, no markup, nobody called by name (@all)."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>#!|" else " " if c in "\r\n\u2028\u2029" else c for c in text).replace("@", "@\u200b")


def _instant(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _common(dicts: Any) -> dict[str, str]:
    first, *others = dicts
    return {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
