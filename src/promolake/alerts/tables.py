"""ops.alerts and ops.alert_states: what the alerts say of themselves."""

from __future__ import annotations

from promolake.core.table import Column, Table, Written

ALERTS = Table(
    "ops.alerts",
    "Every alert that began to fire or was resolved, once.",
    (
        Column("alert_id", "string", "sha256 of rule, labels, the minute it fired, and the status: a replayed batch writes the same."),
        Column("fingerprint", "string", "sha256 of rule and labels: which alert it is."),
        Column("alert", "string", "The rule."),
        Column("status", "string", "firing or resolved."),
        Column("labels", "string", "The labels, a JSON object."),
        Column("annotations", "string", "The annotations with the values put in, a JSON object."),
        Column("value", "double", "The value that made it fire, or its last one."),
        Column("starts_at", "timestamp", "The minute of event time it fired, UTC."),
        Column("ends_at", "timestamp", "The minute of event time it was resolved, UTC; NULL while it fires."),
        Column("rows_sql", "string", "A statement that shows the rows behind it."),
        Column("ingested_at", "timestamp", "When the batch that showed it was cut, UTC."),
    ),
    stats=("ingested_at",),
    shared=True,
)

STATES = Table(
    "ops.alert_states",
    "Where every alert stands that was ever pending, and how far each rule has looked.",
    (
        Column("alert", "string", "The rule."),
        Column("labels", "string", "The values of the rule's `by`, a JSON array; empty for the rule itself."),
        Column("status", "string", "pending, firing or inactive; `looked` for the rule itself."),
        Column("since", "timestamp", "The minute it became hot; for the rule itself the last minute that was over when it was looked at."),
        Column("last_hot", "timestamp", "The latest minute in which it had not cooled down."),
        Column("fired_at", "timestamp", "The minute it fired; NULL while it is pending."),
        Column("value", "double", "Its last value."),
    ),
    Written.REPLACE,
    grain=("alert", "labels"),
    shared=True,
)
