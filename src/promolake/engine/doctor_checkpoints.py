"""Damages of the queries' checkpoints, and the mends that lose and repeat nothing.

Spark plans batch N after the newest `offsets/N` it finds, and every table passes over a transaction (query, N) it holds already. So a
checkpoint that has forgotten batch N gives its number to other records, and those are passed over without an error. What the checkpoint
forgot stands in the books: ops.ledger has the ranges of every finished batch, bronze the records of the one that was not finished.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from promolake.engine.delta_log import DeltaLog
from promolake.engine.finding import Backup, Finding, Harm
from promolake.engine.query_log import QueryLog
from promolake.engine.retracing import Batch, CannotRetrace, Retracing

_APP = re.compile(r"(?P<query>[^@:#]+)@(?P<id>[0-9a-f-]{36})(?P<table>:[^#]+)?(#.+)?")
REFUSED = "the query refuses to start"
_ANEW = "Take the checkpoint away: the join begins anew, and what it finds is settled with what stands."
_AGAIN = "The next run would read everything again and count it twice."


@dataclass
class Written:
    """What the tables hold of one query: the newest batch per query id and table. A scan names the table in its transactions."""

    query: str
    newest: dict[str, dict[str, int]] = field(default_factory=dict)
    is_scan: bool = False

    @property
    def ids(self) -> list[str]:
        return sorted(self.newest)

    def last(self, query_id: str | None) -> int:
        return max(self.newest.get(query_id or "", {}).values(), default=-1)


def written(transactions: dict[str, dict[str, int]]) -> dict[str, Written]:
    """What the tables hold, by query, from the transactions of each table."""
    found: dict[str, Written] = {}
    for table, versions in transactions.items():
        for app, version in versions.items():
            if name := _APP.fullmatch(app):
                query = found.setdefault(name["query"], Written(name["query"]))
                query.is_scan = query.is_scan or name["table"] is not None
                batches = query.newest.setdefault(name["id"], {})
                batches[table] = max(version, batches.get(table, -1))
    return found


class CheckpointDoctor:
    """Examines one checkpoint against what the tables hold of its query. `retracing` writes forgotten batches down again.

    `tables` are those of the lake; `intake`, those a join reads (intake.py).
    """

    def __init__(
        self, log: QueryLog, held: Written, retracing: Retracing, tables: Sequence[DeltaLog] = (), intake: Sequence[DeltaLog] = ()
    ) -> None:
        self._log = log
        self._tables = tables
        self._intake = intake
        self._held = held
        self._retracing = retracing
        self._where = f"checkpoints/{log.name}"

    @property
    def _is_scan(self) -> bool:
        return self._held.is_scan or any(planned is not None and planned.ends is not None for planned in self._log.offsets.values())

    def silent(self) -> Iterator[Finding]:
        """The damages nobody else would tell of."""
        yield from self._whole() or self._forgotten()

    def findings(self) -> Iterator[Finding]:
        whole = self._whole()
        yield from whole
        if whole:
            return
        yield from self._begun_anew()
        yield from self._metadata()
        forgotten = self._forgotten()
        yield from forgotten
        if not forgotten:
            yield from self._offsets()
        yield from self._commits()
        yield from self._sources()

    # --- the checkpoint as a whole -------------------------------------------------------------------------------------------------

    def _whole(self) -> list[Finding]:
        log, held = self._log, self._held
        if not self._is_scan:
            return []  # a join that begins anew finds again what it found, and settles it with what stands
        if not log.offsets and held.ids and (log.id is None or log.id not in held.ids or log.last_done < 0):
            what = "is gone, though its query has written to " + _some(table for tables in held.newest.values() for table in tables)
            return [Finding(self._where, f"{what}. {_AGAIN}", Harm.SILENT, *self._retraced_whole())]
        if log.id and held.ids and log.id not in held.ids:
            what = f"belongs to another start of the query ({log.id}) than the tables ({', '.join(held.ids)}). {_AGAIN}"
            return [Finding(self._where, what, Harm.SILENT, *self._retraced_whole())]
        if log.id and not held.ids and log.last_done >= 0 and self._has_moved_on():
            what = f"says that {log.last_done + 1} batches are done, and no table holds any: their records would be missing."
            return [Finding(self._where, what, Harm.SILENT, "Take the checkpoint away: Kafka is read from its first record.", self._retire)]
        return []

    def _has_moved_on(self) -> bool:
        """Whether records were read between two batches; a first batch may be empty, wherever its topics begin."""
        ends = [planned.ends for planned in self._log.offsets.values() if planned is not None]
        return len(ends) > 1 and ends[0] != ends[-1]

    def _retraced_whole(self) -> tuple[str, partial[None] | None]:
        if len(self._held.ids) != 1:
            return "Nobody can tell which of the query's starts was the last: begin in a new --home.", None
        (query_id,) = self._held.ids
        try:
            batches = self._retracing.batches(None, self._log.name, 0, self._held.last(query_id), self._held.newest[query_id])
        except CannotRetrace as problem:
            return str(problem), None
        return "Write it down again from ops.ledger and bronze.", partial(self._begin, query_id, batches)

    def _begin(self, query_id: str, batches: list[Batch], backup: Backup) -> None:
        self._retire(backup)
        self._log.write_id(query_id)
        self._write(batches)

    def _begun_anew(self) -> Iterator[Finding]:
        """What was done about it too late: the query began at the first record again, over tables that held it."""
        if self._is_scan and len(self._held.ids) > 1 and (twice := self._retracing.read_twice(self._log.name)):
            remedy = "Begin in a new --home: Kafka is read from its first record."
            yield Finding(self._where, f"was begun anew, and {twice}: counted twice.", Harm.SILENT, remedy)

    def _retire(self, backup: Backup) -> None:
        backup.take(self._log.folder)

    # --- its identity --------------------------------------------------------------------------------------------------------------

    def _metadata(self) -> Iterator[Finding]:
        log, held = self._log, self._held
        if log.id is not None or not (log.offsets or log.metadata_file.exists()):
            return
        what = f"is {'unreadable' if log.metadata_file.exists() else 'missing'}: {REFUSED}."
        mend, remedy = None, "Nobody can tell which of the query's starts it belongs to: begin in a new --home."
        if len(held.ids) == 1:
            mend, remedy = partial(self._name, held.ids[0]), f"Write the query's id as the tables know it: {held.ids[0]}."
        elif not held.ids or not self._is_scan:
            mend, remedy = self._retire, "Take the checkpoint away: its query begins anew."
        yield Finding(f"{self._where}/metadata", what, Harm.LOUD, remedy, mend)

    def _name(self, query_id: str, backup: Backup) -> None:
        backup.take(self._log.metadata_file)
        self._log.write_id(query_id)

    # --- batches -------------------------------------------------------------------------------------------------------------------

    def _forgotten(self) -> list[Finding]:
        """Batches the tables (or `commits`) know and `offsets` does not: the next ones would be given their numbers."""
        log = self._log
        query_id = log.id or (self._held.ids[0] if self._is_scan and len(self._held.ids) == 1 else None)
        known = max(self._held.last(query_id), log.last_done)
        readable = max((number for number, planned in log.offsets.items() if planned is not None), default=-1)
        if readable >= max(known, log.last):
            return []
        if known > log.last:
            what = f"ends with batch {log.last}, and batch {known} was written: what is read next would be passed over as written before."
            harm = Harm.SILENT
        else:
            what, harm = f"batch {log.last} is damaged: {REFUSED}.", Harm.LOUD
        return [Finding(f"{self._where}/offsets", what, harm, *self._retraced(readable + 1, known, query_id))]

    def _retraced(self, first: int, last: int, query_id: str | None) -> tuple[str, partial[None] | None]:
        """The remedy for batches `first` to `last`, and the mend if there is one."""
        if not self._is_scan:
            return _ANEW, self._retire
        try:
            batches = self._retracing.batches(self._log, self._log.name, first, last, self._held.newest.get(query_id or "", {}))
        except CannotRetrace as problem:
            return str(problem), None
        return "Write the batches down again from ops.ledger and bronze.", partial(self._continue, first, batches)

    def _continue(self, first: int, batches: list[Batch], backup: Backup) -> None:
        backup.take(*(self._log.offsets_file(number) for number in self._log.offsets if number >= first))
        backup.take(*(self._log.commits_file(number) for number in self._log.commits if number >= first))
        self._write(batches)

    def _write(self, batches: list[Batch]) -> None:
        for batch in batches:
            self._log.write_planned(batch.number, batch.ends, batch.time_ms, batch.like)
            if batch.is_done:
                self._log.write_done(batch.number)

    def _offsets(self) -> Iterator[Finding]:
        """Older entries that are damaged or missing. Spark reads the last two; what lies before has no part in anything."""
        log = self._log
        amiss = [n for n in range(min(log.offsets, default=0), log.last) if log.offsets.get(n) is None]
        for number in amiss:
            state = "is damaged" if number in log.offsets else "is missing"
            if number == log.last - 1:
                remedy, mend = self._rewritten(number)
                yield Finding(f"{self._where}/offsets", f"batch {number} {state}: {REFUSED}.", Harm.LOUD, remedy, mend)
            else:
                yield Finding(f"{self._where}/offsets", f"batch {number} {state}; it is not read any more.", Harm.NONE, "None is needed.")

    def _rewritten(self, number: int) -> tuple[str, partial[None] | None]:
        """The remedy for one entry before the last."""
        if not self._is_scan:
            return self._retraced(number, number, self._log.id)
        try:
            (batch,) = self._retracing.batches(self._log, self._log.name, number, number, {})
        except CannotRetrace as problem:
            return str(problem), None
        return "Write the batch down again from ops.ledger.", partial(self._rewrite, batch)

    def _rewrite(self, batch: Batch, backup: Backup) -> None:
        backup.take(self._log.offsets_file(batch.number))
        self._log.write_planned(batch.number, batch.ends, batch.time_ms, batch.like)

    def _commits(self) -> Iterator[Finding]:
        log, where = self._log, f"{self._where}/commits"
        for number, is_sound in log.commits.items():
            if not is_sound and number <= log.last:
                what = f"batch {number} is damaged" + (f": {REFUSED}." if number == log.last_done else "; it is not read any more.")
                harm = Harm.LOUD if number == log.last_done else Harm.NONE
                mend = partial(self._take, log.commits_file(number))
                yield Finding(where, what, harm, "Remove the file: the batch runs again and its writes are passed over.", mend)
        missing = [n for n in range(min(log.commits, default=0), log.last_done) if n not in log.commits]
        if missing:
            what = f"batches {_some(map(str, missing))} are missing; they are not read any more."
            yield Finding(where, what, Harm.NONE, "None is needed.")
        if log.commits and log.last_done < log.last - 1:
            what = f"ends with batch {log.last_done}, {log.last - log.last_done} before offsets: the last batch runs again."
            yield Finding(where, what, Harm.NONE, "None is needed.")

    def _sources(self) -> Iterator[Finding]:
        """A join whose tables have gone on without it: commits it has to read are damaged or no longer kept, of silver or of its intake.

        Spark reads the last batch of a Delta source once more when the query starts, so what counts is where that batch began.
        """
        began = self._log.offsets.get(self._log.last - 1) or self._log.offsets.get(self._log.last)
        if began is None or not self._intake:
            return  # without an intake it begins anew
        began_at = [(log, began.versions.get(log.table_id, 0)) for log in self._intake]
        due = [(log, range(version, min(version, log.newest) + 1)) for log, version in began_at if version]
        silver = {log.table_id: log for log in self._tables}
        taken = [(silver[app], version) for log in self._intake for app, version in log.transactions().items() if app in silver]
        due += [(log, range(version + 1, log.newest + 1)) for log, version in taken]
        for log, versions in due:
            for version in versions:
                fault = "is no longer kept" if version not in log.commits else log.commit(version).fault
                if fault:
                    what = f"has to read version {version} of {log.name}, which {fault}: {REFUSED}."
                    yield Finding(self._where, what, Harm.LOUD, _ANEW, self._retire)
                    return

    def _take(self, file: Path, backup: Backup) -> None:
        backup.take(file)


def _some(names: Iterable[str], most: int = 3) -> str:
    """The first few of the names, in words."""
    found = sorted(set(names))
    return ", ".join(found[:most]) + (f" and {len(found) - most} more" if len(found) > most else "")
