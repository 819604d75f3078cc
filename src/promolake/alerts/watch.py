"""The watcher in the micro-batch: evaluates the rules and writes ops.alerts and ops.alert_states, each under the batch's transaction."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from promolake.alerts.evaluating import Rows, Standing, evaluated, rendered
from promolake.alerts.message import Transition
from promolake.alerts.relations import MINUTE, View, stood
from promolake.alerts.rules import AlertsFile, Rule, load
from promolake.alerts.samples import Samples, reach
from promolake.alerts.states import INACTIVE, State
from promolake.alerts.tables import ALERTS, STATES
from promolake.core.errors import SettingsError
from promolake.core.table import Table
from promolake.core.watch import Lake

LOOKED = "looked"
RULES_AT_ONCE = 2  # most of a look is DuckDB's planning, a thread each
_ALERT = re.compile(r"[\s{-]*alert:\s*\"?(\w+)")


class _Due(NamedTuple):
    """A rule to be looked at: the minutes of its table that changed, and the youngest it has."""

    rule: Rule
    table: Table
    minutes: set[datetime]
    newest: datetime


class AlertWatch:
    """The rules of `file` over `sources` (tables and views by name). A file that changed is read again; a wrong one changes nothing.

    Of the rules only those over the tables named in `ours`, and over views of them, are evaluated: another process of the home sees
    to the others.
    """

    name = ALERTS.name
    tables = (ALERTS, STATES)

    def __init__(self, file: Path, sources: Mapping[str, Table], ours: Collection[str], say: Callable[[str], None]) -> None:
        self._path = file
        self._sources = sources
        self._ours = ours
        self._say = say
        self._samples = Samples()
        self._pool = ThreadPoolExecutor(RULES_AT_ONCE, "alerts")
        self._changed_at = 0
        self._file = self._loaded()
        self._standing: dict[str, Standing] | None = None
        self._told: frozenset[str] = frozenset()
        self._newest: dict[str, datetime] = {}

    def close(self) -> None:
        self._pool.shutdown(wait=True)
        self._samples.close()

    def forget(self) -> None:
        self._standing = None
        self._newest = {}

    def look(self, lake: Lake, changed: Mapping[str, list[datetime]], taken_at: datetime, txn: Callable[[Table], Any]) -> None:
        now = taken_at.replace(second=0, microsecond=0)
        # A row from a clock that is ahead must not end minutes that are still filling up.
        changed = {name: [minute for minute in minutes if minute <= now] for name, minutes in changed.items()}
        newest = max((max(minutes) for minutes in changed.values() if minutes), default=None)
        if newest is not None:
            self._evaluate(lake, changed, newest, taken_at, txn)

    def idle(self, lake: Lake, now: datetime, txn: Callable[[Table], Any]) -> None:
        """Only a silence can begin: the clock stands in for the time of the sources that have all fallen silent."""
        self._evaluate(lake, {}, now.replace(second=0, microsecond=0), now, txn)

    def _evaluate(
        self, lake: Lake, changed: Mapping[str, list[datetime]], newest: datetime, at: datetime, txn: Callable[[Table], Any]
    ) -> None:
        """Writes transitions first, standings last: a replay of a batch that died between the two finds the same transitions again."""
        self._reload()
        standing = self._read_standing(lake) if self._standing is None else self._standing
        after, transitions = dict(standing), []
        rows = rows_of(lake)

        def stands(due: _Due) -> tuple[Standing, list[Transition]]:
            before = standing.get(due.rule.alert, Standing())
            return evaluated(due.rule, self._file, due.table, before, due.minutes, due.newest, rows, self._samples)

        every = [*self._due(changed, newest)]
        for due, (now, found) in zip(every, self._pool.map(stands, every), strict=True):
            after[due.rule.alert] = now
            transitions += found
        # A look by the clock that died before it wrote its standings is followed by a look with another transaction.
        untold = [one for one in transitions if one.id not in self._told]
        lake.append(ALERTS, _alert_rows(untold, at), txn(ALERTS))
        lake.upsert(STATES, _state_rows(standing, after), txn(STATES))
        self._standing = after

    def _due(self, changed: Mapping[str, list[datetime]], newest: datetime) -> Iterator[_Due]:
        for rule in self._file.rules:
            table = self._sources[rule.table]
            read = table.reads if isinstance(table, View) else (table,)
            if read[0].name not in self._ours:
                continue
            minutes = {minute for one in read for minute in changed.get(one.name, ())}
            # A silence is measured against every source; any other rule against its own table's time.
            youngest = newest if rule.no_data else max(minutes, default=None)
            if youngest is None:
                continue
            youngest = self._newest[rule.alert] = max(youngest, self._newest.get(rule.alert, youngest))
            yield _Due(rule, table, minutes, youngest)

    def _loaded(self) -> AlertsFile:
        self._changed_at = self._path.stat().st_mtime_ns
        file = load(self._path)
        check(file, self._sources, self._path)
        return file

    def _reload(self) -> None:
        try:
            if self._path.stat().st_mtime_ns != self._changed_at:
                self._file = self._loaded()
                self._say(f"{self._path} was read again")
        except (SettingsError, OSError) as error:
            self._say(f"{error} The rules before it stay in force.")

    def _read_standing(self, lake: Lake) -> dict[str, Standing]:
        self._told = frozenset(lake.read(ALERTS, ("alert_id",))["alert_id"].to_pylist())
        found: dict[str, Standing] = {}
        for row in lake.read(STATES, STATES.column_names).to_pylist():
            standing = found.setdefault(row["alert"], Standing())
            if row["status"] == LOOKED:
                standing.looked = row["since"].astimezone(UTC)
            elif row["status"] != INACTIVE:
                times = {name: row[name] and row[name].astimezone(UTC) for name in ("since", "last_hot", "fired_at")}
                standing.states[tuple(json.loads(row["labels"]))] = State(row["status"], value=row["value"], **times)
        return found


def rows_of(lake: Lake) -> Rows:
    """Reads the rows a rule asks for from the lake; what several rules ask for, once."""

    @lru_cache(maxsize=8)  # a look asks for few; a back-test goes on for long
    def read(table: Table, columns: tuple[str, ...], low: datetime, high: datetime) -> pa.Table:
        return lake.between(table, columns, low, high)

    def rows(rule: Rule, table: Table, minutes: Sequence[datetime]) -> pa.Table:
        if isinstance(table, View) and rule.over:
            # Asked once for each minute: those looked at, and those of their baselines.
            before = range(int(reach(rule) / MINUTE) + 1)
            return stood(table, rule.over, sorted({minute - n * MINUTE for minute in minutes for n in before}), read)
        return read(table, table.column_names, minutes[0] - reach(rule), minutes[-1] + MINUTE)

    return rows


def check(file: AlertsFile, sources: Mapping[str, Table], path: Path) -> None:
    """Raises SettingsError, with file and line, for a rule over a table or column that is not there, or with wrong SQL or templates."""
    samples = Samples()
    lines = {f"{match[1]}": n for n, line in enumerate(path.read_text().splitlines(), 1) if (match := _ALERT.match(line))}
    try:
        for rule in file.rules:
            where = f"{path}:{lines.get(rule.alert, 1)}"
            if rule.table not in sources:
                there = f"There are {', '.join(sorted(sources))}."
                raise SettingsError(f"{where}: {rule.alert}: there is no table or view {rule.table}.", there)
            try:
                samples.check(rule, sources[rule.table])
                words = {"value": 0.0, "labels": dict.fromkeys((*rule.by, *rule.labels, "alertname"), "")}
                for text in rule.annotations.values():
                    rendered(text, words)
            except SettingsError as error:
                raise SettingsError(f"{where}: {error.what}", error.remedy) from None
            except Exception as error:
                raise SettingsError(f"{where}: {rule.alert}: {error}.", "Correct its annotations.") from None
    finally:
        samples.close()


def _alert_rows(transitions: Iterable[Transition], taken_at: datetime) -> pa.Table:
    times, text = pa.timestamp("us", "UTC"), pa.string()
    rows = [
        {
            "alert_id": one.id,
            "fingerprint": one.fingerprint,
            "alert": one.name,
            "status": one.status,
            "labels": json.dumps(one.labels, sort_keys=True, ensure_ascii=False),
            "annotations": json.dumps(one.annotations, sort_keys=True, ensure_ascii=False),
            "value": one.value,
            "starts_at": one.starts_at,
            "ends_at": one.ends_at,
            "rows_sql": one.rows_sql,
            "ingested_at": taken_at,
        }
        for one in transitions
    ]
    types = {"value": pa.float64(), "starts_at": times, "ends_at": times, "ingested_at": times}
    return pa.Table.from_pylist(rows, pa.schema([(name, types.get(name, text)) for name in ALERTS.column_names]))


def _state_rows(before: Mapping[str, Standing], after: Mapping[str, Standing]) -> pa.Table:
    """One row for every alert or rule that stands otherwise than before."""
    rows = []
    for alert, now in after.items():
        then = before.get(alert, Standing())
        for labels in sorted({*then.states, *now.states}):
            if then.states.get(labels) != (state := now.states.get(labels)):
                rows.append(_state_row(alert, json.dumps(labels, ensure_ascii=False), state))
        if now.looked != then.looked:
            rows.append({"alert": alert, "labels": "", "status": LOOKED, "since": now.looked})
    times, text = pa.timestamp("us", "UTC"), pa.string()
    types = {"since": times, "last_hot": times, "fired_at": times, "value": pa.float64()}
    return pa.Table.from_pylist(rows, pa.schema([(name, types.get(name, text)) for name in STATES.column_names]))


def _state_row(alert: str, labels: str, state: State | None) -> dict[str, Any]:
    if state is None:
        return {"alert": alert, "labels": labels, "status": INACTIVE}
    return {
        "alert": alert,
        "labels": labels,
        "status": state.status,
        "since": state.since,
        "last_hot": state.last_hot,
        "fired_at": state.fired_at,
        "value": state.value,
    }
