"""A rule's samples: one per minute of event time and combination of labels, computed by DuckDB from rows of its table."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa

from promolake.alerts.relations import MINUTE, View, ddl, literal, sealed, select, time_column
from promolake.alerts.rules import Condition, Rule
from promolake.core.errors import SettingsError
from promolake.core.table import Table

NO_DATA_REACH = timedelta(hours=1)
"""A no_data rule knows of the labels that reported within so long before its limit."""

Labels = tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """What a rule sees of one combination of labels in one minute."""

    window: datetime
    labels: Labels
    value: float | None
    hot: bool
    cool: bool


def reach(rule: Rule) -> timedelta:
    """How far before a minute the rows reach that its samples are computed from."""
    return rule.no_data + NO_DATA_REACH if rule.no_data else rule.baseline or timedelta()


class Samples:
    """Asks rules of rows, from any thread: each has a connection, in UTC, with no access to files or settings."""

    def __init__(self) -> None:
        self._of_thread = threading.local()
        self._connections: list[duckdb.DuckDBPyConnection] = []

    @property
    def _duckdb(self) -> duckdb.DuckDBPyConnection:
        if not hasattr(self._of_thread, "connection"):
            self._of_thread.connection = sealed()
            self._connections.append(self._of_thread.connection)
        return self._of_thread.connection

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    def of(
        self,
        rule: Rule,
        condition: Condition,
        table: Table,
        rows: pa.Table,
        minutes: Iterable[datetime],
        known: Collection[Labels] | None = None,
    ) -> list[Sample]:
        """The samples of the minutes (UTC). `rows` has the table's rows of them and of what `reach` adds before.

        With `known`, only those that are hot or have one of these labels: of thousands of addresses few ever are.
        """
        wanted: dict[str, list[Any]] = {"minutes": list(minutes)}
        if not wanted["minutes"]:
            return []
        asked = _sql(rule, condition, table)
        if known:
            asked += f" AND (hot OR {_labels(rule)} IN (SELECT unnest($known::VARCHAR[][])))"
            wanted["known"] = [list(labels) for labels in known]
        elif known is not None:
            asked += " AND hot"
        self._duckdb.register("rows", rows)
        try:
            found = self._duckdb.execute(asked, wanted).fetchall()
        finally:
            self._duckdb.unregister("rows")
        return [Sample(datetime.fromtimestamp(w, UTC), tuple(labels), *judged) for w, labels, *judged in found]

    def check(self, rule: Rule, table: Table) -> None:
        """Raises SettingsError when the rule, or its SQL in any phase, does not fit the table."""
        _check_kind(rule, table)
        self._duckdb.execute(f"CREATE OR REPLACE TABLE rows ({ddl(table)})")
        self._duckdb.execute("INSERT INTO rows DEFAULT VALUES")  # some SQL is found wrong only when it meets a row
        try:
            if unknown := {*rule.by} - {*table.column_names}:
                raise duckdb.BinderException(f"{', '.join(sorted(unknown))} is no column")
            for phase in (None, *rule.phases):
                self._duckdb.execute(_sql(rule, rule.in_phase(phase), table), {"minutes": []}).fetchall()
        except duckdb.Error as error:
            said = str(error).splitlines()[0].replace("rows", table.name)
            columns = f"Columns of {table.name}: {', '.join(table.column_names)}."
            if isinstance(table, View) and table.later:
                columns += f" What {', '.join(one.name for one in table.later)} adds comes too late for a rule."
            raise SettingsError(f"{rule.alert}: {said}.", columns) from None
        finally:
            self._duckdb.execute("DROP TABLE IF EXISTS rows")


def _check_kind(rule: Rule, table: Table) -> None:
    if not isinstance(table, View):
        if rule.over is not None:
            raise SettingsError(f"{rule.alert}: {table.name} is a table, and `over` is for views.", "Leave `over` out.")
    elif "window_end" not in table.column_names:
        what = f"{rule.alert}: {table.name} has no window_end, so its rows cannot be told to be about a minute"
        raise SettingsError(f"{what}.", f"Look at {', '.join(one.name for one in table.reads)}.")
    elif rule.no_data is not None:
        raise SettingsError(f"{rule.alert}: no_data is for tables.", f"Look at {', '.join(one.name for one in table.reads)}.")
    elif rule.over is None or rule.over < MINUTE:
        raise SettingsError(f"{rule.alert}: a rule over a view needs `over`: of how long the view is made.", "Say over: 1h, at least 1m.")


def rows_behind(rule: Rule, table: Table, labels: Labels, window: datetime) -> str:
    """An SQL statement that shows the rows a firing is about."""
    if isinstance(table, View) and rule.over:
        rows, conditions = f"({select(table, rule.over, window)}) AS rows", ["true"]
    else:
        when = time_column(table)
        low = window - rule.no_data if rule.no_data else window
        rows, conditions = table.name, [f"{when} >= {literal(low)}", f"{when} < {literal(window + MINUTE)}"]
    for name, value in zip(rule.by, labels, strict=True):
        quoted = value.replace("'", "''")
        conditions.append(f"{name} = '{quoted}'" if value else f"coalesce({name}, '') = ''")
    if rule.where:
        conditions.append(f"({rule.where})")
    return f"SELECT * FROM {rows} WHERE {' AND '.join(conditions)}"


def _labels(rule: Rule) -> str:
    texts = [f"coalesce(\"{name}\"::VARCHAR, '')" for name in rule.by]
    return f"[{', '.join(texts)}]::VARCHAR[]"


def _sql(rule: Rule, condition: Condition, table: Table) -> str:
    by = [f'"{name}"' for name in rule.by]
    window = f"date_trunc('minute', {time_column(table)})"
    where = f"WHERE ({rule.where})" if rule.where else ""
    columns = "".join(f", {name}" for name in by)
    # None and the empty text are one label.
    texts = {f'"{column.name}"' for column in table.columns if column.type == "string"}
    named = "".join(f", coalesce({name}, '') AS {name}" if name in texts else f", {name}" for name in by)
    keys = ", ".join(str(n) for n in range(1, len(by) + 2))
    minutes = "minutes AS (SELECT unnest($minutes::TIMESTAMPTZ[]) AS minute)"
    found = f"SELECT epoch(w), {_labels(rule)}, value, hot, cool FROM judged"
    if rule.no_data:
        silent = f"INTERVAL {int(rule.no_data.total_seconds())} SECOND"
        seen = f"INTERVAL {int(reach(rule).total_seconds())} SECOND"
        return (
            f"WITH {minutes}, seen AS (SELECT DISTINCT {window} AS w{named} FROM rows {where}), "
            f"judged AS (SELECT m.minute AS w{columns}, date_diff('second', max(seen.w), m.minute)::DOUBLE AS value, "
            f"max(seen.w) <= m.minute - {silent} AS hot, max(seen.w) > m.minute - {silent} AS cool FROM minutes m "
            f"JOIN seen ON seen.w <= m.minute AND seen.w > m.minute - {seen} GROUP BY {', '.join(['m.minute', *by])}) "
            f"{found} WHERE true"
        )
    sample = f"SELECT {window} AS w{named}, CAST(({rule.value}) AS DOUBLE) AS value FROM rows {where} GROUP BY {keys}"
    baseline, spread, count = "NULL::DOUBLE", "NULL::DOUBLE", "0"
    if rule.baseline:
        partition = f"PARTITION BY {', '.join(by)} " if by else ""
        before = f"RANGE BETWEEN INTERVAL {int(rule.baseline.total_seconds())} SECOND PRECEDING AND INTERVAL 1 SECOND PRECEDING"
        window = f"({partition}ORDER BY w {before})"
        baseline, spread, count = (f"{figure}(value) OVER {window}" for figure in ("avg", "stddev_pop", "count"))
    hot = f"coalesce(({condition.expr}), false)"
    cool = f"coalesce(({condition.clear}), false)" if condition.clear else f"NOT {hot}"
    return (
        f"WITH {minutes}, sample AS ({sample}), compared AS (SELECT *, {baseline} AS baseline, {spread} AS baseline_stddev, "
        f"{count} AS baseline_count FROM sample), "
        f"judged AS (SELECT *, {hot} AS hot, {cool} AS cool FROM compared) "
        f"{found} WHERE w IN (SELECT minute FROM minutes)"
    )
