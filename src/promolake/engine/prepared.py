"""DataFrame functions planned once and run again and again on new rows, together in one Spark job.

A micro-batch of a thousand rows costs Spark far more to plan and to schedule than to compute. So the frames are built once over leaves
that read a file each, and united into one; each batch writes the files anew and collects the same frame: its physical plan is kept by
the frame and only executed.

The files are ORC because Spark opens them as they stand when the plan runs; of the plan it only has the path, and a length that tells
which stripes are meant: those that begin within it. Hence one stripe a file, which begins at byte 3 (ORC v1, "File Tail", "Stripes").

Two things would make a kept plan answer with old rows, and both are looked for: a shuffle, whose files Spark keeps with the plan, and a
broadcast of the rows themselves. A function with one of them is planned anew each time, as every one is on a cluster, whose executors do
not see the driver's files.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import orc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import LongType, StructField, StructType, TimestampType

LEAF = "FileScan orc"
ONE_STRIPE = 2**40  # bytes: more than any batch
# The writer of ORC reserves 1 MB for each of a column's streams, in blocks of this size: at its default, 64 KB, sixteen times as many
# pieces, which takes twice as long, and leaves what lasts longer between them. Malloc maps one of this size by itself, and all of it
# goes back when it is freed (session.py, DECISIONS.md).
ONE_BLOCK = 2**20
_PREFIX = re.compile(r"^[\s:+-]*(?:\*\(\d+\) )?")


class Part(NamedTuple):
    """`function` over one frame per schema (Spark DDL); the columns of each input must be those of its schema, in their order."""

    schemas: Sequence[str]
    function: Callable[..., DataFrame]


class Prepared:
    """Parts by name, run together in at most `tasks` tasks; their files go to `spool`, where each name is prepared once.

    What is planned anew gets each input in `partitions` partitions. Safe to call from several threads: one run at a time.
    """

    def __init__(self, spark: SparkSession, spool: Path, parts: Mapping[str, Part], tasks: int = 1, partitions: int = 1) -> None:
        self._spark = spark
        self._parts = parts
        self._partitions = partitions
        self._alone = threading.Lock()
        self._leaves: dict[str, list[_Leaf]] = {}
        self._frame: DataFrame | None = None
        if keeps_plans(spark):
            spool.mkdir(parents=True, exist_ok=True, mode=0o700)  # raw records pass through it
            self._plan(spool, tasks)

    def _plan(self, spool: Path, tasks: int) -> None:
        leaves, frames = {}, {}
        for name, part in self._parts.items():
            leaves[name] = [_Leaf(self._spark, spool / f"{name}.{n}.orc", schema) for n, schema in enumerate(part.schemas)]
            frames[name] = part.function(*(leaf.frame for leaf in leaves[name]))
        frame = _united(frames).coalesce(tasks) if frames else None
        if frame is not None and _keeps_rows(frame):
            frames = {name: one for name, one in frames.items() if not _keeps_rows(one)}
            frame = _united(frames).coalesce(tasks) if frames else None
        self._leaves, self._frame = {name: leaves[name] for name in frames}, frame

    @property
    def kept(self) -> set[str]:
        """The parts whose plan is kept; the others are planned anew in every run."""
        return set(self._leaves)

    def run(self, inputs: Mapping[str, Sequence[pa.Table]]) -> dict[str, pa.Table]:
        """The rows of each part named in `inputs`, for these inputs."""
        kept = {name: rows for name, rows in inputs.items() if name in self._leaves}
        return self._together(kept) | self._anew({name: rows for name, rows in inputs.items() if name not in kept})

    def alone(self, name: str, inputs: Sequence[pa.Table]) -> pa.Table:
        """The rows of one part, planned for this once, in a job of its own: what is wrong with one is wrong with no other."""
        return self._anew({name: inputs})[name]

    def _anew(self, inputs: Mapping[str, Sequence[pa.Table]]) -> dict[str, pa.Table]:
        """One plan for all of them, and one job."""
        if not inputs:
            return {}
        frames = {
            name: self._parts[name].function(*(self._spark.createDataFrame(one).coalesce(self._partitions) for one in rows))
            for name, rows in inputs.items()
        }
        found = _united(frames).toArrow()
        return {name: _only(found[name]) for name in inputs}

    def _together(self, inputs: Mapping[str, Sequence[pa.Table]]) -> dict[str, pa.Table]:
        if not inputs:
            return {}
        with self._alone:
            for name, leaves in self._leaves.items():
                for leaf, rows in zip(leaves, inputs.get(name) or [None] * len(leaves), strict=True):
                    leaf.hold(rows)
            found = self._frame.toArrow()
        return {name: _only(found[name]) for name in inputs}


class _Leaf:
    """A file, and the frame that reads it: one partition. Instants stand in it as microseconds: pyarrow writes those before 1970 in a way
    that Java refuses to read, and a record without a timestamp has such a one."""

    def __init__(self, spark: SparkSession, path: Path, schema: str) -> None:
        self._path = path
        fields = StructType.fromDDL(schema).fields
        self._instants = [n for n, field in enumerate(fields) if isinstance(field.dataType, TimestampType)]
        stored = StructType([StructField(f.name, LongType() if n in self._instants else f.dataType) for n, f in enumerate(fields)])
        self._none = to_arrow_schema(stored).empty_table()
        self._is_empty = False
        self.hold(None)
        columns = [F.timestamp_micros(f"`{f.name}`").alias(f.name) if n in self._instants else f"`{f.name}`" for n, f in enumerate(fields)]
        # Spark lists the files when it plans; one partition said to be one, or it would shuffle to aggregate.
        self.frame = spark.read.schema(stored).orc(str(self._path)).coalesce(1).select(*columns)

    def hold(self, rows: pa.Table | None) -> None:
        """Puts the rows, or none, in place of those of the run before."""
        is_empty = rows is None or rows.num_rows == 0
        if is_empty and self._is_empty:
            return
        self._is_empty = False  # not before it stands: a full disk leaves a part of it
        written = pa.BufferOutputStream()  # the writer of ORC takes the process down with it when it meets a full disk
        found = self._none if is_empty else self._stored(rows)
        orc.write_table(found, written, stripe_size=ONE_STRIPE, compression_block_size=ONE_BLOCK)
        with open(self._path, "wb", opener=_as_it_is) as file:
            file.write(written.getvalue())
            file.truncate()
        self._is_empty = is_empty

    def _stored(self, rows: pa.Table) -> pa.Table:
        for n in self._instants:
            instants = rows.column(n).cast(pa.timestamp("us", "UTC")).cast(pa.int64())
            rows = rows.set_column(n, rows.field(n).name, instants)
        return rows


def _as_it_is(path: str, flags: int) -> int:
    """Opens a file without emptying it first: what was emptied and written anew ext4 puts to the disk at once, and the next has to wait
    (mount option auto_da_alloc, ext4(5))."""
    return os.open(path, flags & ~os.O_TRUNC, 0o600)


def keeps_plans(spark: SparkSession) -> bool:
    """Whether what runs a plan sees the driver's files."""
    return spark.sparkContext.master.startswith("local")


def _united(frames: Mapping[str, DataFrame]) -> DataFrame:
    """One frame with a column per frame: a row of one is a struct in its column, and NULL in the others."""
    types = {name: frame.schema.simpleString() for name, frame in frames.items()}
    return reduce(
        DataFrame.unionAll,
        (
            frame.select(
                *(
                    (F.struct(*(F.col(f"`{c}`") for c in frame.columns)) if other == name else F.lit(None).cast(types[other])).alias(other)
                    for other in frames
                )
            )
            for name, frame in frames.items()
        ),
    )


def _only(column: pa.ChunkedArray) -> pa.Table:
    """The rows of one part: the structs of its column that are none of the others' NULLs."""
    structs = column.filter(pc.is_valid(column)).combine_chunks()
    return pa.Table.from_arrays(structs.flatten(), schema=pa.schema(list(structs.type)))


def _keeps_rows(frame: DataFrame) -> bool:
    """Whether the physical plan has a shuffle, a cached table, or a broadcast of what a leaf reads."""
    plan = frame._jdf.queryExecution().executedPlan().toString()
    lines = [(len(_PREFIX.match(line)[0]), line) for line in plan.splitlines() if line.strip()]
    for n, (depth, line) in enumerate(lines):
        operator = line[depth:].split(" ")[0]
        if operator in ("Exchange", "InMemoryTableScan"):  # a ReusedExchange is that of another line, and judged there
            return True
        if operator == "BroadcastExchange":
            for deeper, below in lines[n + 1 :]:
                if deeper <= depth:
                    break
                if below[deeper:].startswith(LEAF):
                    return True
    return False
