"""Finds damaged files of checkpoints and tables, the silent ones too, and mends those that can be mended without losing a row.

What is read first was written last: the ledger and the tables' transactions before the checkpoints, so that a stream that runs meanwhile
looks like a stream and not like a damage.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from promolake.core.errors import DamageFound
from promolake.core.flow import Hallway
from promolake.core.table import Table
from promolake.engine.delta_log import logs
from promolake.engine.doctor_alerts import AlertsDoctor, AlertsKept
from promolake.engine.doctor_checkpoints import CheckpointDoctor, Written, written
from promolake.engine.doctor_tables import TableDoctor
from promolake.engine.finding import Backup, Finding, Harm
from promolake.engine.lakehouse import Lakehouse
from promolake.engine.lateness import BOOKS
from promolake.engine.lock import writing
from promolake.engine.query_log import QueryLog
from promolake.engine.retracing import Retracing, books

MOST_MENDS = 200


@dataclass(frozen=True)
class Mended:
    """What a mending did: the damages undone, those left, and where what it took away is kept."""

    undone: list[Finding]
    left: list[Finding]
    backup: Path | None


class Doctor:
    """The doctor of one home. `hallway` says what feeds what; `alerts`, what the alerts keep there."""

    def __init__(self, home: Path, lake: Path, hallway: Hallway, alerts: AlertsKept | None = None) -> None:
        self._home = home
        self._lake = lake
        self._hallway = hallway
        self._alerts = alerts

    @property
    def tables(self) -> list[Table]:
        return [*self._hallway.tables, *BOOKS]

    def findings(self) -> list[Finding]:
        """All damages, the worst first."""
        found = [*self._examined()]
        return sorted(found, key=lambda one: [Harm.SILENT, Harm.LOUD, Harm.NONE].index(one.harm))

    def mend(self, say: Callable[[str], None]) -> Mended:
        """Mends what can be mended, one damage after the other, and looks again after each: a damage is undone when it is found no more.

        Raises HomeInUse when a stream runs.
        """
        with writing(self._home, self.tables):
            backup = Backup(self._home)
            tried: list[Finding] = []
            left = self.findings()
            while len(tried) < MOST_MENDS and (due := next((one for one in left if one.mend and one not in tried), None)):
                say(f"mending {due.where}: {due.what}")
                due.mend(backup)
                tried.append(due)
                left = self.findings()
            undone = [one for one in tried if one not in left]
            if tried:
                backup.folder.mkdir(parents=True, exist_ok=True)
                (backup.folder / "mended.json").write_text(json.dumps([one.as_dict() for one in undone], indent=1))
        return Mended(undone, left, backup.folder if tried else None)

    def _examined(self) -> Iterator[Finding]:
        lake = Lakehouse(self._lake)
        booked = books(lake)
        tables = logs(self._lake)
        held = written({log.name: log.transactions() for log in tables})
        queries = {folder.name: QueryLog(folder) for folder in _checkpoints(self._home)}
        apart = {self._alerts.alerts.name, self._alerts.states.name} if self._alerts else ()
        yield from TableDoctor(lake, self._hallway, tables, queries, held, booked, apart).findings()
        if self._alerts:
            yield from AlertsDoctor(lake, self._alerts).findings()
        retracing = Retracing(lake, self._hallway, lambda: booked)
        for name in sorted({*queries, *held}):
            log = queries.get(name) or QueryLog(self._home / "checkpoints" / name)
            intake = logs(self._home / "state" / "intake" / name)
            yield from CheckpointDoctor(log, held.get(name, Written(name)), retracing, tables, intake).findings()


def preflight(home: Path, lake: Path, hallway: Hallway, queries: Sequence[str]) -> None:
    """Looks for what would lose or repeat rows silently if `queries` were started; a fraction of a second.

    Raises DamageFound, naming the damage and its remedy.
    """
    tables = logs(lake)
    held = written({log.name: log.transactions() for log in tables})
    is_suspect = any(log.faulty() for log in tables)
    retracing = Retracing(Lakehouse(lake), hallway, lambda: books(Lakehouse(lake)))
    silent: list[Finding] = []
    for name in queries:
        silent += CheckpointDoctor(QueryLog(home / "checkpoints" / name), held.get(name, Written(name)), retracing).silent()
    if not silent and is_suspect:  # whether a faulty commit has been made good takes a closer look
        fed = {f"lake {table.name}" for table in (*hallway.tables, *BOOKS)}
        silent = [one for one in Doctor(home, lake, hallway).findings() if one.harm is Harm.SILENT and one.where in fed]
    if silent:
        worst = silent[0]
        how = "`promolake doctor --mend` mends it." if worst.mend else worst.remedy
        raise DamageFound(f"{worst.where}: {worst.what}", how)


def _checkpoints(home: Path) -> list[Path]:
    return [folder for folder in sorted((home / "checkpoints").glob("*")) if folder.is_dir()]
