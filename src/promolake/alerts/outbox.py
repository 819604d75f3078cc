"""The outbox: which transitions are to be told to whom, kept in SQLite in the home, so that no crash loses one.

Every step is one transaction. Between a message's acceptance by the other end and the note of it here lies the one place where a crash
repeats a message; it carries its id.
"""

from __future__ import annotations

import hashlib
import json
import random
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

from promolake.alerts.message import Message, Transition
from promolake.alerts.routing import Policy

BACKOFF_S = (1.0, 900.0)  # the first wait after a failure, and the longest
Held = Callable[[dict[str, str]], str]
"""Why an alert with these labels is not to be spoken of now: silenced, inhibited, or empty."""
GIVE_UP_S = 24 * 3600.0
KEEP_S = 30 * 86400.0  # what was said stays known here; ops.alerts keeps it for ever


class Outbox:
    """The outbox in `file`. One object per thread; times are seconds since the epoch."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(file, timeout=30, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        with self.transaction():
            for statement in resources.files("promolake.alerts").joinpath("outbox.sql").read_text().split(";\n"):
                self._db.execute(statement)

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    # --- transitions in -------------------------------------------------------------------------------------------------------------

    @property
    def taken_until(self) -> datetime | None:
        """When the youngest batch was cut whose transitions were taken in."""
        newest = self._db.execute("SELECT max(ingested_at) FROM alerts").fetchone()[0]
        return datetime.fromisoformat(newest) if newest else None

    def take_in(
        self, rows: Iterable[dict[str, Any]], routed: Callable[[dict[str, str]], Sequence[Policy]], max_age: timedelta, now: float
    ) -> int:
        """Puts rows of ops.alerts that are new into the groups of their policies; returns how many were new. One about longer ago than
        `max_age` when its batch was cut is only noted."""
        new = 0
        with self.transaction():
            for row in rows:
                body = json.dumps(row, default=lambda time: time.astimezone(UTC).isoformat(), ensure_ascii=False)
                values = (row["alert_id"], body, row["fingerprint"], row["status"], row["ingested_at"].astimezone(UTC).isoformat())
                insert = "INSERT OR IGNORE INTO alerts (alert_id, body, fingerprint, status, ingested_at) VALUES (?, ?, ?, ?, ?)"
                if not self._db.execute(insert, values).rowcount:
                    continue
                new += 1
                if row["status"] == "firing":
                    self._db.execute("INSERT OR REPLACE INTO firing VALUES (?, ?, ?)", (row["fingerprint"], row["alert_id"], row["labels"]))
                else:
                    self._db.execute("DELETE FROM firing WHERE fingerprint = ?", (row["fingerprint"],))
                if row["ingested_at"] - (row["ends_at"] or row["starts_at"]) > max_age:
                    self._log(row["alert_id"], "", 0, now, "past", "")
                    continue
                labels = json.loads(row["labels"])
                # The time its batch took has been waited already.
                begun = min(now, row["ingested_at"].timestamp())
                for policy in routed(labels):
                    self._wait(policy, labels, row["alert_id"], begun)
        return new

    def _wait(self, policy: Policy, labels: dict[str, str], alert_id: str, begun: float) -> None:
        key = policy.key(labels)
        words = {
            "receiver": policy.receiver,
            "labels": policy.group(labels),
            "interval": policy.group_interval.total_seconds(),
            "repeat": policy.repeat_interval.total_seconds(),
        }
        group = self._db.execute("SELECT due_at, sent_at FROM groups WHERE group_key = ?", (key,)).fetchone()
        if group is None or group["sent_at"] is None:
            due = group["due_at"] if group and group["due_at"] else begun + policy.group_wait.total_seconds()
        else:
            due = max(begun + policy.group_wait.total_seconds(), group["sent_at"] + policy.group_interval.total_seconds())
            due = min(due, group["due_at"] or due)
        upsert = (
            "INSERT INTO groups (group_key, policy, due_at) VALUES (?, ?, ?) "
            "ON CONFLICT (group_key) DO UPDATE SET policy = excluded.policy, due_at = excluded.due_at"
        )
        self._db.execute(upsert, (key, json.dumps(words, ensure_ascii=False), due))
        self._db.execute("INSERT OR IGNORE INTO waiting (group_key, alert_id) VALUES (?, ?)", (key, alert_id))

    # --- groups speak ---------------------------------------------------------------------------------------------------------------

    def flush(self, now: float, holding: Callable[[Sequence[dict[str, str]]], Held], channels: Callable[[str], Sequence[str]]) -> int:
        """Makes notifications of what the due groups have to say; `holding`, given what fires, tells why one is held back.

        Returns how many were made.
        """
        made = 0
        with self.transaction():
            due = self._db.execute("SELECT * FROM groups WHERE due_at <= ?", (now,)).fetchall()
            if not due:
                return 0
            held = holding([json.loads(row["labels"]) for row in self._db.execute("SELECT labels FROM firing")])
            for group in due:
                words = json.loads(group["policy"])
                ready, kept = self._ready(group["group_key"], held, now)
                repeats = group["repeats"]
                if not ready and not kept and group["sent_at"] is not None and now - group["sent_at"] >= words["repeat"]:
                    ready, repeats = self._still_firing(group["group_key"], held), repeats + 1
                if ready:
                    made += self._notify(group["group_key"], words, ready, repeats, channels(words["receiver"]), now)
                self._settle(group, words, ready, kept, repeats, now)
        return made

    def _ready(self, key: str, held: Held, now: float) -> tuple[list[str], bool]:
        """The transitions to speak of, oldest first; and whether others are held back."""
        ready, kept = [], False
        query = (
            "SELECT w.alert_id, a.body, a.fingerprint, a.status, w.held FROM waiting w JOIN alerts a USING (alert_id) "
            "WHERE w.group_key = ? ORDER BY a.seq"
        )
        told = "SELECT a.fingerprint FROM spoken s JOIN alerts a USING (alert_id) WHERE s.group_key = ? AND a.status = 'firing'"
        known = {row["fingerprint"] for row in self._db.execute(told, (key,))}
        for row in self._db.execute(query, (key,)).fetchall():
            why = held(json.loads(json.loads(row["body"])["labels"]))
            over = self._db.execute("SELECT 1 FROM firing WHERE alert_id = ?", (row["alert_id"],)).fetchone() is None
            if row["status"] == "resolved" and row["fingerprint"] not in known:
                why = why or "untold"  # nobody was told that it fired
            if not why and not (row["held"] and over):
                ready.append(row["alert_id"])
                known.add(row["fingerprint"])
            elif over:
                # What was held back and is over is told to nobody; the ledger says so.
                self._db.execute("DELETE FROM waiting WHERE group_key = ? AND alert_id = ?", (key, row["alert_id"]))
                self._log(row["alert_id"], "", 0, now, why or row["held"], "")
            else:
                kept = True
                self._db.execute("UPDATE waiting SET held = ? WHERE group_key = ? AND alert_id = ?", (why, key, row["alert_id"]))
        return ready, kept

    def _still_firing(self, key: str, held: Held) -> list[str]:
        query = "SELECT f.alert_id, f.labels FROM firing f JOIN spoken s USING (alert_id) WHERE s.group_key = ?"
        return [row["alert_id"] for row in self._db.execute(query, (key,)).fetchall() if not held(json.loads(row["labels"]))]

    def _notify(self, key: str, words: dict[str, Any], ready: list[str], repeats: int, channels: Sequence[str], now: float) -> int:
        for channel in channels:
            self._insert(channel, words["receiver"], words["labels"], ready, False, now, f"{key}#{repeats}")
        for alert_id in ready:
            self._db.execute("DELETE FROM waiting WHERE group_key = ? AND alert_id = ?", (key, alert_id))
            self._db.execute("INSERT OR IGNORE INTO spoken VALUES (?, ?)", (key, alert_id))
        return len(channels)

    def _settle(self, group: sqlite3.Row, words: dict[str, Any], ready: list[str], kept: bool, repeats: int, now: float) -> None:
        """When the group is to be looked at again: soon while something is held back, else when its repetition is due."""
        sent_at = now if ready else group["sent_at"]
        query = "SELECT 1 FROM firing JOIN spoken USING (alert_id) WHERE group_key = ? LIMIT 1"
        fires = self._db.execute(query, (group["group_key"],)).fetchone()
        due = now + min(words["interval"], 60.0) if kept else (sent_at or now) + words["repeat"] if fires else None
        if due is not None and due <= now:
            due = now + words["repeat"]
        values = (due, sent_at, repeats, group["group_key"])
        self._db.execute("UPDATE groups SET due_at = ?, sent_at = ?, repeats = ? WHERE group_key = ?", values)
        if not fires and due is None:
            self._db.execute("DELETE FROM spoken WHERE group_key = ?", (group["group_key"],))

    # --- channels send --------------------------------------------------------------------------------------------------------------

    def next_message(self, channel: str, per_minute: int, now: float) -> Message | None:
        """What the channel is to send now, or None. With its budget for the minute all but used up, everything due becomes one digest."""
        due = self._due(channel, now, -1 if per_minute else 1)
        if not due:
            return None
        if per_minute:
            since = "SELECT count(*) FROM deliveries WHERE channel = ? AND at > ? AND outcome IN ('delivered', 'failed', 'refused')"
            left = per_minute - self._db.execute(since, (channel, now - 60)).fetchone()[0]
            if left <= 0:
                return None
            if len(due) > left > 0 and left <= max(1, per_minute // 4):
                return self._digest(channel, due, now)
        return self._message(due[0])

    def _due(self, channel: str, now: float, limit: int) -> list[sqlite3.Row]:
        query = "SELECT * FROM notifications WHERE channel = ? AND state = 'due' AND due_at <= ? ORDER BY rowid LIMIT ?"
        return self._db.execute(query, (channel, now, limit)).fetchall()

    def _digest(self, channel: str, due: Sequence[sqlite3.Row], now: float) -> Message:
        ids = list(dict.fromkeys(alert_id for row in due for alert_id in json.loads(row["alert_ids"])))
        with self.transaction():
            key = self._insert(channel, due[0]["receiver"], {}, ids, True, now, "|".join(row["id"] for row in due))
            for row in due:
                self._db.execute("UPDATE notifications SET state = 'merged' WHERE id = ?", (row["id"],))
                self._log(row["id"], channel, row["attempts"], now, "merged", key)
        return self._message(self._db.execute("SELECT * FROM notifications WHERE id = ?", (key,)).fetchone())

    def delivered(self, message: Message, channel: str, now: float) -> None:
        with self.transaction():
            attempts = self._attempt(message.id)
            self._db.execute("UPDATE notifications SET state = 'delivered', attempts = ? WHERE id = ?", (attempts, message.id))
            self._log(message.id, channel, attempts, now, "delivered", "")

    def failed(self, message: Message, channel: str, why: str, for_good: bool, after_s: float | None, now: float) -> None:
        """A try that failed: again later, waiting twice as long each time, or for a day in vain or `for_good`: a dead letter."""
        with self.transaction():
            attempts = self._attempt(message.id)
            created = self._db.execute("SELECT created_at FROM notifications WHERE id = ?", (message.id,)).fetchone()[0]
            dead = for_good or now - created > GIVE_UP_S
            wait = after_s or min(BACKOFF_S[1], BACKOFF_S[0] * 2 ** min(attempts - 1, 20)) * random.uniform(0.8, 1.2)
            values = ("dead" if dead else "due", attempts, now + wait, message.id)
            self._db.execute("UPDATE notifications SET state = ?, attempts = ?, due_at = ? WHERE id = ?", values)
            self._log(message.id, channel, attempts, now, "refused" if for_good else "dead" if dead else "failed", why)

    def _attempt(self, notification_id: str) -> int:
        return 1 + self._db.execute("SELECT attempts FROM notifications WHERE id = ?", (notification_id,)).fetchone()[0]

    def _insert(
        self, channel: str, receiver: str, labels: dict[str, str], alert_ids: Sequence[str], is_digest: bool, now: float, seed: str
    ) -> str:
        key = hashlib.sha256(json.dumps([channel, seed, list(alert_ids)]).encode()).hexdigest()[:20]
        insert = (
            "INSERT OR IGNORE INTO notifications (id, channel, receiver, group_labels, alert_ids, is_digest, created_at, due_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        )
        labels_text = json.dumps(labels, ensure_ascii=False)
        self._db.execute(insert, (key, channel, receiver, labels_text, json.dumps(list(alert_ids)), int(is_digest), now, now))
        return key

    def _message(self, row: sqlite3.Row) -> Message:
        bodies = (self._db.execute("SELECT body FROM alerts WHERE alert_id = ?", (one,)).fetchone() for one in json.loads(row["alert_ids"]))
        transitions = tuple(transition(json.loads(body["body"])) for body in bodies)
        return Message(row["id"], row["receiver"], json.loads(row["group_labels"]), transitions, bool(row["is_digest"]))

    def _log(self, notification_id: str, channel: str, attempt: int, at: float, outcome: str, detail: str) -> None:
        values = (notification_id, channel, attempt, at, outcome, detail)
        self._db.execute("INSERT INTO deliveries VALUES (?, ?, ?, ?, ?, ?)", values)

    def forget(self, now: float) -> None:
        """Removes what is over and older than KEEP_S. The youngest transition stays: it says how far ops.alerts was taken in."""
        before = now - KEEP_S
        cut = datetime.fromtimestamp(before, UTC).isoformat()
        with self.transaction():
            self._db.execute("DELETE FROM notifications WHERE state <> 'due' AND created_at < ?", (before,))
            self._db.execute("DELETE FROM deliveries WHERE at < ?", (before,))
            self._db.execute(
                "DELETE FROM alerts WHERE ingested_at < ? AND ingested_at < (SELECT max(ingested_at) FROM alerts)"
                " AND alert_id NOT IN (SELECT alert_id FROM firing UNION SELECT alert_id FROM waiting UNION SELECT alert_id FROM spoken)"
                " AND alert_id NOT IN (SELECT value FROM notifications, json_each(notifications.alert_ids))",
                (cut,),
            )

    # --- looking --------------------------------------------------------------------------------------------------------------------

    def counts(self) -> dict[str, dict[str, int]]:
        """Notifications by channel and state."""
        found: dict[str, dict[str, int]] = {}
        for row in self._db.execute("SELECT channel, state, count(*) AS n FROM notifications GROUP BY channel, state ORDER BY 1, 2"):
            found.setdefault(row["channel"], {})[row["state"]] = row["n"]
        return found

    def history(self, limit: int) -> list[dict[str, Any]]:
        """The latest tries, newest first: one row of the delivery ledger each, with the titles of what was sent."""
        query = (
            "SELECT d.*, n.alert_ids FROM deliveries d LEFT JOIN notifications n ON n.id = d.notification_id ORDER BY d.rowid DESC LIMIT ?"
        )
        return [dict(row) for row in self._db.execute(query, (limit,))]

    def revive(self) -> int:
        """Makes dead letters due again; returns how many."""
        with self.transaction():
            return self._db.execute("UPDATE notifications SET state = 'due', due_at = 0 WHERE state = 'dead'").rowcount


def transition(row: dict[str, Any]) -> Transition:
    """A row of ops.alerts (times as ISO text) as what channels are given."""
    return Transition(
        id=row["alert_id"],
        fingerprint=row["fingerprint"],
        status=row["status"],
        labels=json.loads(row["labels"]),
        annotations=json.loads(row["annotations"]),
        value=row["value"],
        starts_at=datetime.fromisoformat(row["starts_at"]),
        ends_at=datetime.fromisoformat(row["ends_at"]) if row["ends_at"] else None,
        rows_sql=row["rows_sql"],
    )


def outbox_file(home: Path) -> Path:
    """Where the outbox of a home is."""
    return home / "state" / "outbox.sqlite"
