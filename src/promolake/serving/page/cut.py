"""One consistent cut through the tables: all of them as of the same micro-batch, now or at any time history still reaches.

The tables of a batch are committed side by side, its entry in ops.ledger last. A commit of a batch that is not in the ledger yet is
therefore not shown: the table is taken as it stood before. Every commit names its batch in a transaction (`txn`) of the application
`<query>@<id>:<table>`; commits without one (maintenance, joins on a trigger of their own) belong to no batch and do not count.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from deltalake import DeltaTable

from promolake.core.errors import SettingsError

LEDGER = "ops.ledger"


@dataclass(frozen=True)
class Snapshot:
    """A table at a version; `committed_at` (UTC) is when data last came in, None when none has."""

    table: DeltaTable
    committed_at: datetime | None


@dataclass(frozen=True)
class Cut:
    """The tables there are, by name, and the micro-batch they are as of, -1 before the first."""

    batch: int
    tables: dict[str, Snapshot]

    @property
    def id(self) -> str:
        """Another one for every other cut: versions only ever grow."""
        return f"{self.batch}-{sum(snapshot.table.version() for snapshot in self.tables.values())}"


class Cutter:
    """Cuts through the tables of the given names under `root`. Keeps them open; one thread at a time."""

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self._paths = {name: root / name.replace(".", "/") for name in (LEDGER, *names)}
        self._open: dict[str, DeltaTable] = {}
        self._seen: dict[str, int] = {}

    def has_news(self) -> bool:
        """Whether any table has a version that the last cut did not look at; a few system calls."""
        return any(_commit(path, self._seen.get(name, -1) + 1).exists() for name, path in self._paths.items())

    def newest(self) -> Cut:
        """Now. The ledger is looked at first, so that whatever it holds is in the other tables, too."""
        seen = {name: _newest_version(path, self._seen.get(name, -1)) for name, path in self._paths.items()}
        if any(version < self._seen.get(name, -1) for name, version in seen.items()):  # another lake stands there now
            self._open = {}
        self._seen = seen
        there = {name: version for name, version in self._seen.items() if version >= 0}
        if LEDGER not in there:
            return Cut(-1, {})
        ledger = self._opened(LEDGER, there[LEDGER])
        return self._cut(ledger, {name: self._opened(name, _whole(self._paths[name], there[name], ledger)) for name in there})

    def at(self, moment: datetime) -> Cut:
        """As the newest cut was at `moment`. Raises SettingsError when history does not reach back so far."""
        then = {name: table for name, path in self._paths.items() if (table := _as_of(name, path, moment))}
        if LEDGER not in then:
            return Cut(-1, {})
        for name, table in then.items():
            version = _whole(self._paths[name], table.version(), then[LEDGER])
            if version < table.version():
                table.load_as_version(version)
        return self._cut(then[LEDGER], then)

    def _cut(self, ledger: DeltaTable, tables: dict[str, DeltaTable]) -> Cut:
        batch, _ = _last_batch(self._paths[LEDGER], ledger.version())
        snapshots = {name: Snapshot(table, _last_batch(self._paths[name], table.version())[1]) for name, table in tables.items()}
        return Cut(batch, snapshots)

    def _opened(self, name: str, version: int) -> DeltaTable:
        table = self._open.get(name)
        if table is None:
            table = self._open[name] = DeltaTable(self._paths[name], version=version)
        if table.version() < version:
            table.update_incremental()
        if table.version() != version:
            table.load_as_version(version)
        return table


def _whole(path: Path, version: int, ledger: DeltaTable) -> int:
    """The newest version up to `version` without rows of a batch that is not in the ledger."""
    found = version
    for number, commit in _commits(path, version):
        batches = _batches(commit)
        if any(_booked(ledger, app) < batch for app, batch in batches):
            found = number - 1
        elif batches:
            break
    return max(found, 0)


def _booked(ledger: DeltaTable, app: str) -> int:
    query, _, _ = app.partition(":")
    newest = ledger.transaction_version(f"{query}:{LEDGER}")
    return -1 if newest is None else newest


def _last_batch(path: Path, version: int) -> tuple[int, datetime | None]:
    """The batch of the last commit that has one, up to `version`, and when it was committed; -1 and None when there is none."""
    for _, commit in _commits(path, version):
        if batches := _batches(commit):
            return batches[0][1], _time(commit)
    return -1, None


def _batches(commit: str) -> list[tuple[str, int]]:
    """The applications and batches of a scan's commit; those of joins name no table."""
    actions = [json.loads(line)["txn"] for line in commit.splitlines() if line.startswith('{"txn"')]
    return [(action["appId"], action["version"]) for action in actions if ":" in action["appId"]]


def _time(commit: str) -> datetime | None:
    told = next((json.loads(line)["commitInfo"] for line in commit.splitlines() if line.startswith('{"commitInfo"')), {})
    return datetime.fromtimestamp(told["timestamp"] / 1000, UTC) if "timestamp" in told else None


def _commits(path: Path, version: int) -> Iterator[tuple[int, str]]:
    """The commits from `version` down, as far as the log has them one by one."""
    for number in range(version, -1, -1):
        try:
            yield number, _commit(path, number).read_text(encoding="utf-8")
        except FileNotFoundError:
            return


def _commit(path: Path, version: int) -> Path:
    return path / "_delta_log" / f"{version:020}.json"


def _newest_version(path: Path, known: int) -> int:
    """The table's newest version, -1 when there is no table. Counts on from a known one, which is cheaper than to list the log."""
    if known < 0 or not _commit(path, known).exists():
        log = path / "_delta_log"
        return max((int(file.stem) for file in log.glob("[0-9]*.json") if file.stem.isdigit()), default=-1)
    while _commit(path, known + 1).exists():
        known += 1
    return known


def _as_of(name: str, path: Path, moment: datetime) -> DeltaTable | None:
    """The table as it stood at `moment`, None when it was not there yet."""
    if not DeltaTable.is_deltatable(str(path)):
        return None
    first = min(int(file.stem) for file in (path / "_delta_log").glob("[0-9]*.json") if file.stem.isdigit())
    began = datetime.fromtimestamp(_commit(path, first).stat().st_mtime, UTC)
    if moment < began and first == 0:
        return None
    if moment < began:
        raise SettingsError(f"The history of {name} reaches back to {began:%Y-%m-%d %H:%M:%S} UTC only.", "Ask for a later time.")
    table = DeltaTable(path)
    table.load_as_version(moment)
    return table
