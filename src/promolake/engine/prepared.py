"""A DataFrame function planned once and run again and again on new rows.

A micro-batch of a thousand rows costs Spark far more to plan than to compute: analysing, optimising and binding the parse pass takes
seconds, running it a tenth of one. So the frame is built once over a leaf that reads a file, and each batch writes the file anew and
collects the same frame: its physical plan is kept by the frame and only executed.

Two things would make a kept plan answer with old rows, and both are looked for: a shuffle, whose files Spark keeps with the plan, and a
broadcast of the rows themselves. A function with one of them is planned anew each time, as it is on a cluster, whose executors do not
see the driver's files.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

LEAF = "MapInArrow"
_PREFIX = re.compile(r"^[\s:+-]*(?:\*\(\d+\) )?")


class Prepared:
    """`function` over frames of the given schemas (Spark DDL), each with `partitions` partitions; files go to `spool`.

    A name is prepared once per spool. Safe to call from several threads: one run at a time.
    """

    def __init__(
        self, spark: SparkSession, spool: Path, name: str, schemas: Sequence[str], function: Callable[..., DataFrame], partitions: int = 1
    ) -> None:
        self._spark = spark
        self._schemas = schemas
        self._function = function
        self._partitions = partitions
        self._paths = [str(spool / f"{name}.{n}") for n in range(len(schemas))]
        self._alone = threading.Lock()
        self._frame = self._planned(spool) if spark.sparkContext.master.startswith("local") else None

    @property
    def is_kept(self) -> bool:
        """Whether the plan is kept; else every run plans anew."""
        return self._frame is not None

    def run(self, *inputs: pa.Table) -> pa.Table:
        """The function's rows for these inputs, whose columns must be those of the schemas, in their order."""
        if self._frame is None:
            return self._function(*(self._spark.createDataFrame(rows).coalesce(self._partitions) for rows in inputs)).toArrow()
        with self._alone:
            for path, rows in zip(self._paths, inputs, strict=True):
                self._spool(path, rows)
            return self._frame.toArrow()

    def _planned(self, spool: Path) -> DataFrame | None:
        spool.mkdir(parents=True, exist_ok=True, mode=0o700)  # raw records pass through it
        slots = self._spark.range(0, self._partitions, 1, self._partitions)
        leaves = [slots.mapInArrow(partial(_read, path), schema) for path, schema in zip(self._paths, self._schemas, strict=True)]
        frame = self._function(*leaves)
        plan = frame._jdf.queryExecution().executedPlan().toString()
        return None if _keeps_rows(plan) else frame

    def _spool(self, path: str, rows: pa.Table) -> None:
        share = -(-rows.num_rows // self._partitions)
        for slot in range(self._partitions):
            part = rows.slice(slot * share, share)
            with pa.OSFile(f"{path}.{slot}", "wb") as file, pa.ipc.new_stream(file, rows.schema) as stream:
                stream.write_table(part, max_chunksize=10_000)


def _read(path: str, slots: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Runs in Spark's Python worker: the rows of the slots that fall to its partition."""
    mine = [slot for batch in slots for slot in batch.column(0).to_pylist()]  # read to the end, or the worker is not used again
    for slot in mine:
        with pa.OSFile(f"{path}.{slot}", "rb") as file, pa.ipc.open_stream(file) as stream:
            yield from stream


def _keeps_rows(plan: str) -> bool:
    """Whether the physical plan (its tree as text) has a shuffle, a cached table, or a broadcast of what a leaf reads."""
    lines = [(len(_PREFIX.match(line)[0]), line) for line in plan.splitlines() if line.strip()]
    for n, (depth, line) in enumerate(lines):
        operator = line[depth:].split(" ")[0]
        if operator in ("Exchange", "ReusedExchange", "InMemoryTableScan"):
            return True
        if operator == "BroadcastExchange":
            for deeper, below in lines[n + 1 :]:
                if deeper <= depth:
                    break
                if below[deeper:].startswith(LEAF):
                    return True
    return False
