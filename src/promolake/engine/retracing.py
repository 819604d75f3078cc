"""Which records the batches of a scan took, when its checkpoint has forgotten: from ops.ledger and, for the last one, from bronze."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc
from deltalake.exceptions import DeltaError

from promolake.core.flow import Hallway
from promolake.core.table import Written
from promolake.engine.arrow import arrow_schema
from promolake.engine.lakehouse import Lakehouse
from promolake.engine.ledger import LEDGER
from promolake.engine.query_log import Ends, Planned, QueryLog

_NEW_HOME = "Begin in a new --home, with the records Kafka still has"
_BOOKED = ("query", "batch_id", "topic", "partition", "first_offset", "last_offset", "ingested_at")
_COUNTS = ("read_count", "valid_count", "quarantined_count")


class CannotRetrace(Exception):
    """Why forgotten batches cannot be written down again, and what to do instead, in words."""


@dataclass(frozen=True)
class Batch:
    """A batch as it was planned. `is_done` when all its tables hold it; otherwise it has to run again."""

    number: int
    ends: Ends
    time_ms: int
    is_done: bool
    like: Planned | None


def books(lake: Lakehouse) -> pa.Table:
    """What every batch read, by ops.ledger, without corrections (they read nothing); no row when it is not there or cannot be read."""
    columns = [*_BOOKED, *_COUNTS]
    try:
        if lake.exists(LEDGER):
            return lake.read(LEDGER, columns, "read_count > 0")
    except (DeltaError, OSError):  # a damage of its own
        pass
    return arrow_schema(LEDGER).empty_table().select(columns)


class Retracing:
    """Over one lake and its books, without a JVM."""

    def __init__(self, lake: Lakehouse, hallway: Hallway, booked: Callable[[], pa.Table]) -> None:
        self._lake = lake
        self._hallway = hallway
        self._booked = booked

    def batches(self, log: QueryLog | None, query: str, first: int, last: int, newest: dict[str, int]) -> list[Batch]:
        """The batches `first` to `last` of a query, of whose writes the tables hold the `newest`.

        Without an intact batch before them the last two are enough: Spark reads no more. Raises CannotRetrace.
        """
        if twice := self.read_twice(query):
            raise CannotRetrace(f"The ledger is no guide, for {twice}. {_NEW_HOME}.")
        by_batch: dict[int, list[dict]] = {}
        for row in self._ledger(query):
            by_batch.setdefault(row["batch_id"], []).append(row)
        done = max(by_batch, default=-1)
        if last > max(first - 1, done) and (last > done + 1 or not newest):
            raise CannotRetrace(f"ops.ledger knows no batch after {done}. {_NEW_HOME}.")  # only the last batch may be unfinished
        planned = log.offsets if log else {}
        before = planned.get(first - 1)
        ends = before.ends if before else _ends({}, [row for number, rows in by_batch.items() if number < first for row in rows])
        like = before or next((one for one in planned.values() if one), None)
        time_ms = int(like.settings.get("batchTimestampMs", 0)) if like else 0
        found: list[Batch] = []
        for number in range(first, last + 1):
            taken = by_batch.get(number, []) if number <= done else self._unfinished(ends, number, newest)
            _agreeing(ends, taken, number)
            ends = _ends(ends, taken)
            time_ms = _milliseconds(taken[0]["ingested_at"]) if taken else time_ms
            found.append(Batch(number, ends, time_ms, number <= done, like))
        return found if before else found[-2:]

    def read_twice(self, query: str) -> str:
        """In words, the first record the ledger says a query read in two batches; empty when there is none."""
        rows = self._ledger(query)
        for row, following in pairwise(rows):
            is_same_place = (row["topic"], row["partition"]) == (following["topic"], following["partition"])
            if is_same_place and following["first_offset"] <= row["last_offset"]:
                return f"offset {following['first_offset']} of {row['topic']}, partition {row['partition']}, was read twice"
        return ""

    def _ledger(self, query: str) -> list[dict]:
        """What a query read, by place: range after range."""
        rows = self._booked()
        rows = rows.filter(pc.equal(rows["query"], query))
        return rows.sort_by([(name, "ascending") for name in ("topic", "partition", "first_offset")]).to_pylist()

    def _unfinished(self, ends: Ends, number: int, newest: dict[str, int]) -> list[dict]:
        """What bronze holds of a batch the ledger does not know: the records after all batches before it.

        A topic whose bronze does not hold the batch is given to the next batch; so no other table may hold the batch's rows of it.
        """
        ahead = self._ahead_of_bronze(number, newest)
        if ahead:
            raise CannotRetrace(
                f"Run `promolake rebuild {' '.join(ahead)}`, then the doctor again: batch {number} is there and not in bronze."
            )
        found = []
        for flow in self._hallway.ingests:
            if newest.get(flow.bronze.name, -1) >= number:
                known = ends.get(flow.topic.name, {})
                since = " AND ".join(f'NOT ("partition" = {place} AND "offset" < {end})' for place, end in known.items())
                try:
                    rows = self._lake.read(flow.bronze, ("topic", "partition", "offset", "ingested_at"), since)
                except (DeltaError, OSError):
                    raise CannotRetrace(f"{flow.bronze.name} cannot be read: mend it first.") from None
                groups = rows.group_by(["topic", "partition"]).aggregate([("offset", "min"), ("offset", "max"), ("ingested_at", "max")])
                found += [
                    {"topic": row["topic"], "partition": row["partition"], "ingested_at": row["ingested_at_max"]}
                    | {"first_offset": row["offset_min"], "last_offset": row["offset_max"]}
                    for row in groups.to_pylist()
                ]
        return found

    def _ahead_of_bronze(self, number: int, newest: dict[str, int]) -> list[str]:
        """Tables that add up and hold a batch their topic's bronze does not: they are the only ones written beside it, not after it."""
        bronze = {flow.table.name: flow.bronze.name for flow in self._hallway.ingests}
        return [
            metric.table.name
            for metric in self._hallway.metrics
            if metric.table.written is Written.ACCUMULATE
            and newest.get(metric.table.name, -1) >= number > newest.get(bronze[metric.reads[0].table.name], -1)
        ]


def _ends(ends: Ends, rows: Sequence[dict]) -> Ends:
    """Where the topics' partitions end once the ranges have been read."""
    found = {topic: dict(partitions) for topic, partitions in ends.items()}
    for row in rows:
        place = found.setdefault(row["topic"], {})
        place[str(row["partition"])] = max(row["last_offset"] + 1, place.get(str(row["partition"]), 0))
    return found


def _agreeing(ends: Ends, rows: Sequence[dict], number: int) -> None:
    """Raises CannotRetrace when a batch is said to have read what was read before it."""
    for row in rows:
        if row["first_offset"] < ends.get(row["topic"], {}).get(str(row["partition"]), 0):
            raise CannotRetrace(f"ops.ledger and offsets disagree about where batch {number} of {row['topic']} began. {_NEW_HOME}.")


def _milliseconds(time: datetime) -> int:
    return round(time.timestamp() * 1000)
