"""Rules over the minutes a batch changed. The same code looks at the stream and at history (`alerts backtest`, `alerts test`)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pyarrow as pa
from jinja2.sandbox import SandboxedEnvironment

from promolake.alerts.message import Transition
from promolake.alerts.relations import MINUTE
from promolake.alerts.rules import AlertsFile, Rule
from promolake.alerts.samples import Labels, Sample, Samples, rows_behind
from promolake.alerts.states import FIRING, Change, State, stepped
from promolake.core.table import Table

Rows = Callable[[Rule, Table, Sequence[datetime]], pa.Table]
"""The rows of a table or view that a rule must see for its samples of these minutes (UTC, in order)."""

LONGEST_GAP = timedelta(days=1)

_TEMPLATES = SandboxedEnvironment(autoescape=False)


@dataclass
class Standing:
    """How far a rule has looked and where its alerts stand. `looked` is the last minute that was over."""

    looked: datetime | None = None
    states: dict[Labels, State] = field(default_factory=dict)


def evaluated(
    rule: Rule,
    file: AlertsFile,
    table: Table,
    standing: Standing,
    minutes: Iterable[datetime],
    newest: datetime,
    rows: Rows,
    samples: Samples,
) -> tuple[Standing, list[Transition]]:
    """The standing after the changed `minutes`, and what changed. `newest` is the youngest minute: only those before it are over.

    Minutes the rule has done with are not looked at again: a late row changes gold, but wakes nobody about the past.
    """
    over = newest - MINUTE
    changed = {minute for minute in minutes if minute <= newest}
    done = standing.looked or min(changed, default=newest) - MINUTE
    if over - done <= LONGEST_GAP:
        todo = {done + n * MINUTE for n in range(1, int((over - done) / MINUTE) + 1)}
    else:  # history, with nothing in most minutes; the one behind `done` was the newest then, and is over now
        todo = {minute for minute in changed if done < minute < newest} | {done + MINUTE, over}
    early = {newest} if rule.early and newest in changed else set()
    wanted = sorted(todo) + sorted(early)
    states, transitions = dict(standing.states), []
    found = _found(rule, file, table, wanted, states, rows, samples)
    for minute in wanted:
        in_minute = {sample.labels: sample for sample in found.get(minute, ())}
        if not states and not any(sample.hot for sample in in_minute.values()):
            continue
        hot_or_known = {labels: sample for labels, sample in in_minute.items() if sample.hot or labels in states}
        condition = rule.in_phase(file.phase(minute))
        states, changes = stepped(states, hot_or_known, condition, minute, is_over=minute != newest)
        transitions += [_transition(rule, table, change) for change in changes]
    return Standing(max(done, over), states), transitions


def _found(
    rule: Rule, file: AlertsFile, table: Table, minutes: list[datetime], known: Collection[Labels], rows: Rows, samples: Samples
) -> Mapping[datetime, list[Sample]]:
    """By minute the samples that are hot, or whose labels are known or were hot in another of the minutes."""
    if not minutes:
        return {}
    taken = rows(rule, table, minutes)
    of_phases = [(phase, [minute for minute in minutes if file.phase(minute) == phase]) for phase in {*map(file.phase, minutes)}]

    def asked(known: Collection[Labels]) -> list[Sample]:
        return [sample for phase, ours in of_phases for sample in samples.of(rule, rule.in_phase(phase), table, taken, ours, known)]

    found = asked(known)
    hot = {sample.labels for sample in found}
    if len(minutes) > 1 and not hot <= {*known}:
        found = asked(hot | {*known})
    in_minute: dict[datetime, list[Sample]] = {}
    for sample in found:
        in_minute.setdefault(sample.window, []).append(sample)
    return in_minute


def _transition(rule: Rule, table: Table, change: Change) -> Transition:
    labels = rule.labels | dict(zip(rule.by, change.labels, strict=True)) | {"alertname": rule.alert}
    fired = change.state.fired_at or change.window
    fingerprint = _sha256(rule.alert, *change.labels)
    words = {"value": change.state.value, "labels": labels}
    return Transition(
        id=_sha256(fingerprint, fired.isoformat(), change.status),
        fingerprint=fingerprint,
        status=change.status,
        labels=labels,
        annotations={name: rendered(text, words) for name, text in rule.annotations.items()},
        value=change.state.value,
        starts_at=fired,
        ends_at=None if change.status == FIRING else change.window,
        rows_sql=rows_behind(rule, table, change.labels, fired),
    )


def rendered(text: str, words: Mapping[str, object]) -> str:
    """An annotation with {{ value }} and {{ labels.x }} put in (Jinja, sandboxed)."""
    return _TEMPLATES.from_string(text).render(words)


def _sha256(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()
