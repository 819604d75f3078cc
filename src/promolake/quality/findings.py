"""ops.audits: what every audit found, one row per expectation. Counts and reasons, never a value of the rows it looked at."""

from __future__ import annotations

from dataclasses import dataclass

from promolake.core.table import Column, Table

AUDITS = Table(
    "ops.audits",
    "What the audits found: one row per audit and expectation.",
    (
        Column("audit_id", "string", "The audit."),
        Column("audited_at", "timestamp", "When it began, UTC."),
        Column("table_name", "string", "The table looked at; of two that must agree, the first."),
        Column("table_version", "bigint", "The Delta version of it that was looked at."),
        Column("expectation", "string", "What it must keep: a quarantine reason, a rule, or the name of an agreement."),
        Column("kind", "string", "The expectation's type in Great Expectations."),
        Column("column_names", "string", "The columns it is about, with commas."),
        Column("severity", "string", "critical: the audit fails with it; warning: it is only shown."),
        Column("is_success", "boolean", "Whether it is kept."),
        Column("checked_count", "bigint", "Rows looked at; of an agreement, keys compared."),
        Column("unexpected_count", "bigint", "Those that break it; NULL when it could not be evaluated."),
        Column("details", "string", "More in words; never a value of a row."),
    ),
    stats=("audited_at",),
)

CRITICAL = "critical"
WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    """One expectation and whether it is kept; the fields are columns of ops.audits."""

    table_name: str
    table_version: int
    expectation: str
    kind: str
    column_names: str
    severity: str
    is_success: bool
    checked_count: int
    unexpected_count: int | None
    details: str = ""

    @property
    def is_failure(self) -> bool:
        """Whether the audit fails with it."""
        return not self.is_success and self.severity == CRITICAL
