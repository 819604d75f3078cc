"""Kafka records in, each with what it breaks or its silver row out: the parse pass of a scan, on all cores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from promolake.columns import masking
from promolake.core.flow import Ingest
from promolake.engine.prepared import Part, Prepared, keeps_plans
from promolake.silver.entity import ROW, VIOLATIONS, parsed

FEW = 3_000  # records that a second task costs more for than it saves: to begin one takes as much as two thousand records
_POSITION = ("partition", "offset")


class Parser:
    """Parses the records of several topics on all cores: where plans are kept, one copy of the plan a core, each over an equal share of
    every topic; else in one job planned for it."""

    def __init__(self, spark: SparkSession, spool: Path, ingests: Sequence[Ingest], key: bytes) -> None:
        self._ingests = ingests
        parts = {flow.table.short: Part([flow.bronze.ddl], partial(_answers, flow=flow, key=key)) for flow in ingests}
        cores = spark.sparkContext.defaultParallelism
        self._most, partitions = (cores, 1) if keeps_plans(spark) else (1, cores)
        self._pool = ThreadPoolExecutor(self._most, thread_name_prefix="parse")
        self._planned = lambda n: Prepared(spark, spool / f"records.{n}", parts, partitions=partitions)
        self._first = self._planned(0)
        self._others: list[Future[Prepared]] = []

    @property
    def kept(self) -> set[str]:
        """The entities whose plan is kept."""
        return self._first.kept

    def parse(self, records: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
        """In: records (bronze's columns) by the silver table their topic feeds. Out: the same, with `violations` and `row` (entity.py)."""
        copies = self._copies_for(sum(rows.num_rows for rows in records.values()))

        def share(n: int) -> dict[str, pa.Table]:
            mine = {flow.table.short: _share(records[flow.table.name], n, len(copies)) for flow in self._ingests}
            found = copies[n].run({name: [rows] for name, rows in mine.items()})
            return {name: _beside(rows, found[name]) for name, rows in mine.items()}

        shares = list(self._pool.map(share, range(len(copies))))
        return {flow.table.name: pa.concat_tables([one[flow.table.short] for one in shares]) for flow in self._ingests}

    def _copies_for(self, count: int) -> list[Prepared]:
        """The copies for so many records. All but the first are planned when they are first wanted, while the first does the work alone:
        that takes seconds of a core, which a run of few records never needs and a first batch does not wait for."""
        if count <= FEW:
            return [self._first]
        if not self._others:
            self._others = [self._pool.submit(self._planned, n) for n in range(1, self._most)]
        return [self._first, *(other.result() for other in self._others if other.done())]

    def close(self) -> None:
        self._pool.shutdown(wait=True)


def with_key(records: DataFrame, key: bytes) -> DataFrame:
    """The records with the two pads of the pseudonym key as columns, joined from a frame so that no plan shows their bytes.

    From Arrow: rows of Python take a Python worker, which Spark ends after a minute of idleness with a traceback on the terminal.
    """
    inner, outer = masking.key_pads(key)
    pads = records.sparkSession.createDataFrame(pa.table({masking.KEY_INNER: [inner], masking.KEY_OUTER: [outer]}))
    return records.crossJoin(F.broadcast(pads))


def _answers(records: DataFrame, flow: Ingest, key: bytes) -> DataFrame:
    """What is not known of the records yet, with their positions."""
    return parsed(with_key(records, key), flow).select(*_POSITION, VIOLATIONS, ROW)


def _share(rows: pa.Table, n: int, of: int) -> pa.Table:
    size = -(-rows.num_rows // of)
    return rows.slice(n * size, size)


def _beside(rows: pa.Table, answers: pa.Table) -> pa.Table:
    """The answers beside the records they are of. Nothing in the plan moves a row; were it otherwise, nothing must come of it."""
    if any(not rows[name].cast("int64").equals(answers[name].cast("int64")) for name in _POSITION):
        raise RuntimeError("the parse pass returned other records than it was given, or in another order")
    return rows.append_column(VIOLATIONS, answers[VIOLATIONS]).append_column(ROW, answers[ROW])
