"""Damages of what the alerts keep, and the mends that lose and repeat nothing.

`ops.alerts` only grows, and holds every alert the outbox ever took in; so what a lost commit took with it is found again in the data files
no commit names, and in the outbox. `ops.alert_states` follows from gold: set back to an earlier commit, the rules look at the same minutes
again and find the alerts that are told already. The outbox (SQLite) says who was told what, which stands nowhere else.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from promolake.core.table import Table
from promolake.engine.arrow import arrow_schema, conformed
from promolake.engine.delta_log import UNPARSEABLE, Commit, DeltaLog, at_the_end
from promolake.engine.finding import Backup, Finding, Harm
from promolake.engine.lakehouse import Lakehouse, Txn

_ID = "alert_id"
_OF_AN_INDEX = re.compile(r"(row \d+ missing from|wrong # of entries in|non-unique entry in) index .+")
_UNREADABLE = (OSError, pa.ArrowException, ValueError)


@dataclass(frozen=True)
class AlertsKept:
    """What the alerts keep of a home: their two tables, and the file of the outbox, whose table `alerts` has rows of the first as JSON."""

    alerts: Table
    states: Table
    outbox: Path


class AlertsDoctor:
    """Examines what the alerts keep in one lake."""

    def __init__(self, lake: Lakehouse, kept: AlertsKept) -> None:
        self._lake = lake
        self._kept = kept

    def findings(self) -> Iterator[Finding]:
        # The outbox first: what it holds was in the table before.
        told, wrong = self._outbox()
        yield from wrong
        yield from self._alerts(told)
        yield from self._states()

    # --- ops.alerts ------------------------------------------------------------------------------------------------------------------

    def _alerts(self, told: list[dict[str, Any]]) -> Iterator[Finding]:
        log = self._log(self._kept.alerts)
        if log.holes or not all(log.is_readable(version) for version in log.checkpoints):
            return  # who looks at every table says so
        where, faulty = f"lake {log.name}", log.faulty(everywhere=True)
        try:
            lacking = self._lacking(log, told)
        except _UNREADABLE:  # a data file is gone: said by who looks at every table, and no append would mend it
            return
        is_tail, is_loud = at_the_end(log, faulty), any(commit.fault == UNPARSEABLE for commit in faulty)
        if faulty and (is_tail or is_loud or lacking.num_rows):
            mend = partial(self._restore, faulty if is_tail else [], told) if is_tail or not is_loud else None
            remedy = "Write its rows again: they are in its data files or the outbox." if mend else "Restore the file from a backup."
            yield Finding(where, _what(faulty, is_loud=is_loud), Harm.LOUD if is_loud else Harm.SILENT, remedy, mend)
        elif lacking.num_rows and not faulty and (lost := self._untaken(log, told)):
            what = f"lacks {lost} alerts that the outbox took from it: its newest commits are gone, or an older copy stands in its place."
            yield Finding(where, what, Harm.SILENT, "Write them again: the outbox has them.", partial(self._restore, [], told))

    def _restore(self, faulty: list[Commit], told: list[dict[str, Any]], backup: Backup) -> None:
        backup.take(*(commit.file for commit in faulty))
        log = self._log(self._kept.alerts)
        self._lake.append(self._kept.alerts, self._lacking(log, told), Txn(f"doctor:{log.name}", log.newest))

    def _lacking(self, log: DeltaLog, told: list[dict[str, Any]]) -> pa.Table:
        """Alerts that no commit has and a data file or the outbox does, each once."""
        named = log.files()
        held = _rows(list(named), self._kept.alerts)
        unnamed = [file for file in sorted(log.table.glob("*.parquet")) if file not in named and file.stat().st_size]
        orphans = _rows(unnamed, self._kept.alerts)
        found = pa.concat_tables([orphans, pa.Table.from_pylist(told, schema=held.schema)])
        found = found.filter(pc.invert(pc.is_in(found[_ID], held[_ID].combine_chunks())))
        first = {one: place for place, one in reversed([*enumerate(found[_ID].to_pylist())])}
        return found.take(pa.array(sorted(first.values()), pa.int64()))

    def _untaken(self, log: DeltaLog, told: list[dict[str, Any]]) -> int:
        held = set(_rows(list(log.files()), self._kept.alerts)[_ID].to_pylist())
        return len({row[_ID] for row in told} - held)

    # --- ops.alert_states ------------------------------------------------------------------------------------------------------------

    def _states(self) -> Iterator[Finding]:
        log = self._log(self._kept.states)
        if not (faulty := log.faulty(everywhere=True)):
            return
        is_loud = any(commit.fault == UNPARSEABLE for commit in faulty)
        remedy = f"Move {log.table} away: the rules begin anew, what fires may be told once more, and its end is not told."
        mend = None
        if at_the_end(log, faulty):
            remedy = "Remove it: the rules look at the same minutes again, and tell nothing twice."
            mend = partial(self._take, faulty)
        yield Finding(f"lake {log.name}", _what(faulty, is_loud=is_loud), Harm.LOUD if is_loud else Harm.SILENT, remedy, mend)

    def _take(self, faulty: list[Commit], backup: Backup) -> None:
        backup.take(*(commit.file for commit in faulty))

    # --- the outbox ------------------------------------------------------------------------------------------------------------------

    def _outbox(self) -> tuple[list[dict[str, Any]], list[Finding]]:
        """The alerts it took in, and what is wrong with it."""
        file = self._kept.outbox
        if not file.exists():
            return [], []
        where = f"state/{file.name}"
        alerts = self._log(self._kept.alerts)
        begun_anew = f"Restore it from a backup while no run or dispatcher is going: without it every alert of {alerts.name} is told again."
        try:
            with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True, timeout=30)) as outbox:
                said = [row[0] for row in outbox.execute("PRAGMA integrity_check")]
                if not outbox.execute("SELECT 1 FROM sqlite_master WHERE name = 'alerts'").fetchone():
                    what = "the outbox is empty: who was told what is forgotten."
                    return [], [Finding(where, what, Harm.SILENT, begun_anew)] if alerts.files() else []
                told = [_row(json.loads(body), self._kept.alerts) for (body,) in outbox.execute("SELECT body FROM alerts ORDER BY seq")]
        except (sqlite3.DatabaseError, ValueError) as error:
            return [], [Finding(where, f"the outbox cannot be read ({error}): nothing is delivered.", Harm.LOUD, begun_anew)]
        if said == ["ok"]:
            return told, []
        is_of_indices = all(_OF_AN_INDEX.fullmatch(one) for one in said)
        what = f"the outbox is damaged ({said[0]})."
        if is_of_indices:
            return told, [Finding(where, what, Harm.LOUD, "Make its indices anew: its rows are whole.", self._reindex)]
        return told, [Finding(where, what, Harm.LOUD, begun_anew)]

    def _reindex(self, backup: Backup) -> None:
        with closing(sqlite3.connect(self._kept.outbox, timeout=30)) as outbox:
            outbox.execute("REINDEX")

    def _log(self, table: Table) -> DeltaLog:
        return DeltaLog(Path(self._lake.path(table)))


def _what(faulty: list[Commit], *, is_loud: bool) -> str:
    names = ", ".join(f"{commit.version} {commit.fault}" for commit in faulty)
    return f"commit {names}: " + ("the table cannot be opened." if is_loud else "its rows are missing, and readers do not notice.")


def _rows(files: list[Path], table: Table) -> pa.Table:
    found = [conformed(pq.read_table(file), table) for file in files]
    return pa.concat_tables(found) if found else arrow_schema(table).remove_metadata().empty_table()


def _row(body: dict[str, Any], table: Table) -> dict[str, Any]:
    """A row as the outbox has it, its times as ISO text, as the table has it."""
    times = {column.name for column in table.columns if column.type == "timestamp"}
    return {name: datetime.fromisoformat(value) if name in times and value else value for name, value in body.items()}
