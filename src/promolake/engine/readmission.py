"""Lets records out of quarantine once the rule or the code that kept them there is mended: they go through again, once.

What passes now is taken into silver and gold as a batch of its own, the ledger is corrected, and only then do the rows leave the
quarantine. An intent written first (state/readmission.json) makes an interrupted replay resume with exactly the same rows and
transactions, so whichever tables were committed, nothing is added twice.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from promolake.core.flow import Ingest
from promolake.core.table import Table
from promolake.engine import ledger
from promolake.engine.fates import Fates
from promolake.engine.lakehouse import Lakehouse, Txn
from promolake.engine.rebuilding import Settler
from promolake.engine.scan import Scan, ledger_rows
from promolake.whole_file import write_whole

QUERY = "readmission"
Positions = list[tuple[int, int]]


@dataclass(frozen=True)
class Outcome:
    """What a replay made of the chosen rows of one quarantine table: `looked_at` = passed + duplicate + kept."""

    quarantine: str
    looked_at: int
    passed: int
    duplicate: int

    @property
    def kept(self) -> int:
        return self.looked_at - self.passed - self.duplicate


class Readmission:
    """A replay over one lake. The caller holds the tables' locks; `scan` is not running."""

    def __init__(self, home: Path, lake: Lakehouse, scan: Scan, ingests: Sequence[Ingest]) -> None:
        self._intent = home / "state" / "readmission.json"
        self._settler = Settler(lake, home / "state" / "settled.json")
        self._lake = lake
        self._scan = scan
        self._ingests = ingests

    def replay(self, rules: Sequence[str] = (), since: datetime | None = None, dry_run: bool = False) -> list[Outcome]:
        """Puts the quarantined rows that broke one of `rules` (all when none is named) at or after `since` through again.

        An interrupted replay is finished first, whatever is asked for. With `dry_run` nothing is written.
        """
        if self._intent.exists() and not dry_run:
            self._carry_out(json.loads(self._intent.read_text()))
        chosen = {flow.quarantine.name: self._chosen(flow, rules, since) for flow in self._ingests}
        if not any(chosen.values()):
            return []
        intent = {"number": self._next_number(), "positions": chosen}
        if dry_run:
            return self._outcomes(chosen, self._fates(chosen))
        write_whole(self._intent, json.dumps(intent))
        return self._carry_out(intent)

    def _carry_out(self, intent: dict) -> list[Outcome]:
        number, chosen = intent["number"], intent["positions"]
        found = self._fates(chosen)
        late = {name: one.valid for name, one in found.items()}  # whenever they happened, their minutes were given without them
        self._scan.commit(found, late, QUERY, number)
        self._correct_ledger(found, late, number)
        for flow in self._ingests:
            self._let_go(flow, found[flow.table.name], number)
        taken_at = [pc.min(one.valid["ingested_at"]).as_py() for one in found.values() if one.valid.num_rows]
        if taken_at:
            self._settler.reopen(min(taken_at).astimezone(UTC))
        self._intent.unlink()
        return self._outcomes(chosen, found)

    def _chosen(self, flow: Ingest, rules: Sequence[str], since: datetime | None) -> Positions:
        where = f"ingested_at >= '{since.astimezone(UTC).isoformat()}'" if since else ""
        rows = self._lake.read(flow.quarantine, ("violations", "partition", "offset"), where).to_pylist()
        return sorted((row["partition"], row["offset"]) for row in rows if not rules or set(rules) & set(row["violations"]))

    def _fates(self, chosen: dict[str, Positions]) -> dict[str, Fates]:
        """The fates of the chosen rows; what still breaks a rule stays where it is, so it counts as nothing here."""
        rows = [_at(self._lake.read(flow.quarantine, flow.bronze.column_names), chosen[flow.quarantine.name]) for flow in self._ingests]
        found = self._scan.fates(pa.concat_tables(rows))
        return {
            name: Fates(one.bronze.slice(0, 0), one.valid, one.quarantined.slice(0, 0), one.duplicate) for name, one in found.items()
        }

    def _correct_ledger(self, found: dict[str, Fates], late: dict[str, pa.Table], number: int) -> None:
        rows = []
        for flow in self._ingests:
            one = found[flow.table.name]
            moved = pa.concat_tables([one.valid, one.duplicate])
            if moved.num_rows:
                read = moved.select(["partition", "offset", "ingested_at"])
                read = read.append_column("topic", pa.array([flow.topic.name] * moved.num_rows))
                rows.append(ledger.readmitted(ledger.entries(QUERY, number, read, ledger_rows(one, late[flow.table.name]))))
        if rows:
            self._lake.append(ledger.LEDGER, pa.concat_tables(rows), Txn(f"{QUERY}:{ledger.LEDGER.name}", number))

    def _let_go(self, flow: Ingest, found: Fates, number: int) -> None:
        moved = pa.concat_tables([found.valid, found.duplicate])
        if moved.num_rows:
            everything = self._lake.read(flow.quarantine, flow.quarantine.column_names)
            left = everything.filter(pc.invert(_is_at(everything, _positions(moved))))
            self._lake.overwrite(flow.quarantine, left, [Txn(f"{QUERY}:{flow.quarantine.name}", number)])

    def _next_number(self) -> int:
        rows = self._lake.read(ledger.LEDGER, ("query", "batch_id"))
        mine = rows.filter(pc.equal(rows["query"], QUERY))["batch_id"]
        committed = [self._lake.transaction(table, f"{QUERY}:{table.name}") for table in self._written]
        return max([pc.max(mine).as_py() if len(mine) else -1, *committed]) + 1

    @property
    def _written(self) -> list[Table]:
        return [table for table in self._scan.tables if self._lake.exists(table)]

    def _outcomes(self, chosen: dict[str, Positions], found: dict[str, Fates]) -> list[Outcome]:
        return [
            Outcome(
                flow.quarantine.name,
                len(chosen[flow.quarantine.name]),
                found[flow.table.name].valid.num_rows,
                found[flow.table.name].duplicate.num_rows,
            )
            for flow in self._ingests
            if chosen[flow.quarantine.name]
        ]


def _positions(rows: pa.Table) -> Positions:
    return list(zip(rows["partition"].to_pylist(), rows["offset"].to_pylist(), strict=True))


def _is_at(rows: pa.Table, positions: Sequence[Sequence[int]]) -> pa.Array:
    wanted = {tuple(position) for position in positions}
    return pa.array([position in wanted for position in _positions(rows)], pa.bool_())


def _at(rows: pa.Table, positions: Sequence[Sequence[int]]) -> pa.Table:
    return rows.filter(_is_at(rows, positions))
