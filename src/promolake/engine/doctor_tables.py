"""Damages of the tables, and the mends that lose and repeat nothing.

A commit that is lost takes its transaction with it. So when the batch it belonged to was the last, taking the damaged file away and
letting that batch run again writes it once more, and every table that holds the batch passes over it. Whether it was the last stands in
ops.ledger: which batches had rows for which table. Bronze, which nothing rebuilds, is also found again in its orphaned data files.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from promolake.core.flow import Hallway
from promolake.engine.delta_log import UNPARSEABLE, Commit, DeltaLog, at_the_end
from promolake.engine.doctor_checkpoints import Written
from promolake.engine.finding import Backup, Finding, Harm
from promolake.engine.lakehouse import Lakehouse, Txn
from promolake.engine.ledger import LEDGER
from promolake.engine.orphans import Orphans
from promolake.engine.query_log import QueryLog

Batches = set[tuple[str, int]]
"""Batches by query and number."""


class TableDoctor:
    """Examines the tables of one lake, given what their logs, the queries' checkpoints and the ledger say.

    The lost commits of the tables named `apart` another doctor sees to.
    """

    def __init__(
        self,
        lake: Lakehouse,
        hallway: Hallway,
        logs: list[DeltaLog],
        queries: dict[str, QueryLog],
        held: dict[str, Written],
        booked: pa.Table,
        apart: Collection[str] = (),
    ) -> None:
        self._lake = lake
        self._apart = apart
        self._logs = {log.name: log for log in logs}
        self._queries = queries
        self._held = held
        self._tables = {table.name: table for table in (*hallway.tables, LEDGER)}
        self._joins = {join.table.name: join.table.short for join in hallway.joins}
        self._bronze = {flow.bronze.name: flow.topic.name for flow in hallway.ingests}
        self._fed = {flow.bronze.name: ({flow.topic.name}, "read_count") for flow in hallway.ingests}
        self._fed |= {flow.table.name: ({flow.topic.name}, "valid_count") for flow in hallway.ingests}
        self._fed |= {flow.quarantine.name: ({flow.topic.name}, "quarantined_count") for flow in hallway.ingests}
        self._counted = set(self._fed)  # the ledger says exactly which batches have rows here
        topics = {flow.table.name: flow.topic.name for flow in hallway.ingests}
        self._fed |= {m.table.name: ({topics[reads.table.name] for reads in m.reads}, "valid_count") for m in hallway.metrics}
        self._ledger = booked
        faulty = self._logs[LEDGER.name].faulty(everywhere=True) if LEDGER.name in self._logs else []
        self._are_books_whole = not faulty
        # What the ledger lacks at its end is known to be lacking; what it lacks before that is not.
        self._are_books_readable = at_the_end(self._logs[LEDGER.name], faulty) if faulty else True

    def findings(self) -> Iterator[Finding]:
        for log in self._logs.values():
            log_is_whole = True
            for finding in self._log_findings(log):
                log_is_whole = log_is_whole and finding.harm is not Harm.LOUD
                yield finding
            if log_is_whole:
                yield from self._commits(log) if log.name not in self._apart else ()
                yield from self._files(log)
        yield from self._lost_rows()

    # --- the log -------------------------------------------------------------------------------------------------------------------

    def _log_findings(self, log: DeltaLog) -> Iterator[Finding]:
        where = f"lake {log.name}"
        broken = [version for version in log.checkpoints if not log.is_readable(version, whole=True)]
        for version in sorted(broken):
            is_newest = version == max(log.checkpoints)
            sound = max((other for other in log.checkpoints if other not in broken), default=-1)
            is_covered = all(number in log.commits for number in range(sound + 1, log.newest + 1)) or not is_newest
            what = f"the log's checkpoint {version} cannot be read" + (": the table cannot be opened." if is_newest else ".")
            mend = partial(self._take, [*log.checkpoints[version], *([log.hint] if is_newest else [])]) if is_covered else None
            remedy = "Remove it: the commits it sums up are all there." if mend else self._moved_away(log)
            yield Finding(where, what, Harm.LOUD if is_newest else Harm.NONE, remedy, mend)
        if log.hint.exists() and not broken:
            hinted = _hinted(log.hint)
            if hinted not in log.checkpoints:
                is_lost = hinted is not None and not log.checkpoints
                what = f"names a checkpoint that is not there ({hinted})" if hinted is not None else "cannot be parsed"
                harm = Harm.LOUD if is_lost else Harm.NONE
                remedy = "Remove it: it only saves a look at the folder."
                yield Finding(f"{where} _last_checkpoint", f"{what}.", harm, remedy, partial(self._take, [log.hint]))
        if log.holes and not broken:
            missing = ", ".join(map(str, log.holes[:3]))
            yield Finding(where, f"commit {missing} is missing: the table cannot be opened.", Harm.LOUD, self._moved_away(log))

    def _commits(self, log: DeltaLog) -> Iterator[Finding]:
        faulty = log.faulty(everywhere=True)
        is_loud = any(commit.fault == UNPARSEABLE for commit in faulty)
        if not faulty or (log.name in self._bronze and not is_loud and self._are_books_whole and self._orphans(log).is_whole):
            return
        names = ", ".join(f"{commit.version} {commit.fault}" for commit in faulty)
        what = f"commit {names}: " + ("the table cannot be opened." if is_loud else "its rows are missing, and readers do not notice.")
        remedy, mend = self._recommitted(log, faulty)
        yield Finding(f"lake {log.name}", what, Harm.LOUD if is_loud else Harm.SILENT, remedy, mend)

    def _recommitted(self, log: DeltaLog, faulty: list[Commit]) -> tuple[str, partial[None] | None]:
        """What makes the rows of lost commits good again."""
        files = [commit.file for commit in faulty]
        is_tail = at_the_end(log, faulty)
        if is_tail and log.name in self._joins:
            checkpoint = self._queries.get(self._joins[log.name])
            taken = [*files, *([checkpoint.folder] if checkpoint else [])]
            return "Remove it and the join's checkpoint: the join begins anew and finds its rows again.", partial(self._take, taken)
        if is_tail and log.name in self._tables:
            lost = self._unbooked() | (self._missing(log.name) if log.name != LEDGER.name else set())
            if self._are_books_readable and all(batch == self._last(query) for query, batch in lost):
                done = [self._queries[query].commits_file(batch) for query, batch in lost]
                what = "Remove it" + (": the last batch runs again and writes it once more." if lost else ": no batch is missing.")
                return what, partial(self._take, [*files, *(file for file in done if file.exists())])
        if is_tail and log.name not in self._tables:  # ops tables beside the ledger: nothing is computed from them
            done = [
                query.commits_file(query.last) for name, query in self._queries.items() if name in self._held and self._held[name].is_scan
            ]
            remedy = "Remove it: the last batch runs again, and writes it once more if it was that batch's."
            return remedy, partial(self._take, [*files, *(file for file in done if file.exists())])
        is_open = not any(commit.fault == UNPARSEABLE for commit in faulty)
        if log.name in self._bronze and self._are_books_whole and (is_tail or is_open):
            rows = self._orphans(log).found()
            if rows is not None:
                return "Commit its data files again: they are there.", partial(self._restore, log, files if is_tail else [], rows)
        return self._rebuilt(log, is_open=is_open), None

    def _files(self, log: DeltaLog) -> Iterator[Finding]:
        known = log.files()
        missing = [file.name for file, size in known.items() if not file.exists() or file.stat().st_size != size]
        if missing:
            what = f"{len(missing)} data files are missing or cut off ({missing[0]}): the table cannot be read."
            yield Finding(f"lake {log.name}", what, Harm.LOUD, self._rebuilt(log, is_open=True))
        empty = [file for file in log.table.glob("*.parquet") if file.stat().st_size == 0 and file not in known]
        if empty:
            what = f"{len(empty)} empty data files belong to no commit, as a full disk leaves them."
            yield Finding(f"lake {log.name}", what, Harm.NONE, "None is needed: maintenance removes them.")

    def _rebuilt(self, log: DeltaLog, *, is_open: bool) -> str:
        if log.name in self._bronze:
            return "Nothing rebuilds bronze: restore the file, or begin in a new --home with the records Kafka still has."
        if log.name not in self._tables or log.name == LEDGER.name:
            return "Restore the file from a backup."
        return f"Run `promolake rebuild {_rebuildable(log.name)}`." if is_open else self._moved_away(log)

    def _moved_away(self, log: DeltaLog) -> str:
        if log.name in self._bronze or log.name not in self._tables or log.name == LEDGER.name:
            return self._rebuilt(log, is_open=False)
        return f"Move {log.table} away and run `promolake rebuild {_rebuildable(log.name)}`."

    # --- the books -----------------------------------------------------------------------------------------------------------------

    def _lost_rows(self) -> Iterator[Finding]:
        """Tables that end before the ledger says they do: their newest commits are gone, or an older copy was put in their place."""
        for name in sorted(self._counted):
            log = self._logs.get(name)
            lost = {(query, batch) for query, batch in self._missing(name) if not self._runs_again(query, batch)}
            if lost and not (log and (log.holes or log.faulty(everywhere=True))):
                what = f"lacks the rows of {len(lost)} batches that ops.ledger counted, up to batch {max(n for _, n in lost)}."
                remedy, mend = f"Run `promolake rebuild {_rebuildable(name)}`.", None
                if all(batch == self._last(query) for query, batch in lost):
                    done = [self._queries[query].commits_file(batch) for query, batch in lost]
                    remedy = "Let the last batch run again: it writes what is missing."
                    mend = partial(self._take, [file for file in done if file.exists()])
                elif name in self._bronze:
                    remedy = "Restore the table from a backup, or begin in a new --home with the records Kafka still has."
                yield Finding(f"lake {name}", what, Harm.SILENT, remedy, mend)

    def _missing(self, name: str) -> Batches:
        """The batches after the table's newest that had rows for it (for gold: may have had), by the ledger."""
        topics, counted = self._fed[name]
        fed = pc.and_(pc.is_in(self._ledger["topic"], pa.array(topics, pa.string())), pc.greater(self._ledger[counted], 0))
        found: Batches = set()
        for query in pc.unique(self._ledger["query"]).to_pylist():
            later = pc.and_(pc.equal(self._ledger["query"], query), pc.greater(self._ledger["batch_id"], self._newest(query, name)))
            found |= {(query, number) for number in self._ledger.filter(pc.and_(fed, later))["batch_id"].to_pylist()}
        return found

    def _unbooked(self) -> Batches:
        """The finished batches after the ledger's newest."""
        scans = [query for query, held in self._held.items() if held.is_scan and query in self._queries]
        return {
            (query, number) for query in scans for number in range(self._newest(query, LEDGER.name) + 1, self._queries[query].last_done + 1)
        }

    def _runs_again(self, query: str, batch: int) -> bool:
        """Whether the next run of a query begins with that batch."""
        log = self._queries.get(query)
        return log is not None and log.last == batch > log.last_done

    def _newest(self, query: str, table: str) -> int:
        held = self._held.get(query)
        return max((tables.get(table, -1) for tables in held.newest.values()), default=-1) if held else -1

    def _last(self, query: str) -> int | None:
        """The query's last batch, if its checkpoint still knows what it read."""
        log = self._queries.get(query)
        return log.last if log and log.offsets.get(log.last) else None

    # --- bronze from its orphans ---------------------------------------------------------------------------------------------------

    def _orphans(self, log: DeltaLog) -> Orphans:
        topic = self._bronze[log.name]
        return Orphans(self._tables[log.name], log, self._ledger.filter(pc.equal(self._ledger["topic"], topic)))

    def _restore(self, log: DeltaLog, files: list[Path], rows: pa.Table, backup: Backup) -> None:
        backup.take(*files)
        query, batch = max(self._missing(log.name), key=lambda one: one[1], default=("", -1))
        ids = self._held[query].ids if query else []
        # Under the transaction of its batch, so that the batch, were it to run again, is passed over.
        txn = Txn(f"{query}@{ids[0]}:{log.name}", batch) if len(ids) == 1 else Txn(f"doctor:{log.name}", log.newest)
        self._lake.append(self._tables[log.name], rows, txn)

    def _take(self, files: list[Path], backup: Backup) -> None:
        backup.take(*files)


def _rebuildable(name: str) -> str:
    """Quarantine is rebuilt with its entity."""
    return name.replace("quarantine_", "")


def _hinted(hint: Path) -> int | None:
    try:
        return int(json.loads(hint.read_text())["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
