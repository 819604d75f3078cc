"""Frames for tests: Kafka records as the engine reads them, and rows of the house's tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pyarrow as pa
from chispa import assert_df_equality
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from promolake.bronze.envelope import COLUMNS
from promolake.core.flow import Join, Metric, Reads
from promolake.core.table import Table
from promolake.core.topic import Topic
from promolake.engine.arrow import arrow_schema
from promolake.engine.parsing import with_key
from promolake.hallway import HALLWAY
from promolake.silver.entity import ROW, parsed

KEY = b"a pseudonym key for tests only"
BROKER_TIME = datetime(2026, 11, 11, 12, tzinfo=UTC)
INGESTED_AT = datetime(2026, 11, 11, 12, 0, 1, tzinfo=UTC)
INGESTS = {flow.topic.name: flow for flow in HALLWAY.ingests}
_BRONZE = Table("bronze.any", "", COLUMNS)


class Record(NamedTuple):
    """A Kafka record; its offset is its position among the records of the frame."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    kafka_timestamp: datetime = BROKER_TIME


def record(topic: Topic, value: Any, **others: Any) -> Record:
    """A record of the topic; a dict becomes JSON, text becomes UTF-8."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value
    return Record(topic.name, text.encode() if isinstance(text, str) else text, **others)


def records_frame(spark: SparkSession, records: Iterable[Record], key: bytes = KEY) -> DataFrame:
    """The records with bronze's columns and the two HMAC pads."""
    rows = [
        r._asdict() | {"partition": 0, "offset": n, "ingested_at": INGESTED_AT, "headers": [{"key": k, "value": v} for k, v in r.headers]}
        for n, r in enumerate(records)
    ]
    return with_key(frame(spark, _BRONZE, rows), key)


def parsed_rows(spark: SparkSession, records: Sequence[Record]) -> list[dict[str, Any]]:
    """What the parse pass makes of the records, in their order; each row's struct of silver columns as `silver`."""
    rows: list[dict[str, Any]] = []
    given = records_frame(spark, records)
    for flow in (INGESTS[topic] for topic in sorted({r.topic for r in records})):
        rows += parsed(given.where(F.col("topic") == flow.topic.name), flow).toArrow().to_pylist()
    return [row | {"silver": row[ROW]} for row in sorted(rows, key=lambda row: row["offset"])]


def frame(spark: SparkSession, table: Table, rows: Iterable[dict[str, Any]]) -> DataFrame:
    """Rows of a table, in one partition; a column a row does not name is NULL."""
    return spark.createDataFrame(pa.Table.from_pylist(list(rows), arrow_schema(table).remove_metadata())).coalesce(1)


def evaluated(spark: SparkSession, given: Sequence[str | None], column: Callable[[Column], Column]) -> list[Any]:
    """The value of the column for each given text, in order; timestamps are in UTC."""
    texts = spark.createDataFrame(pa.table({"n": range(len(given)), "given": pa.array(given, pa.string())})).coalesce(1)
    rows = with_key(texts, KEY).select("n", column(F.col("given")).alias("value")).toArrow().to_pylist()
    return [row["value"] for row in sorted(rows, key=lambda row: row["n"])]


def read(spark: SparkSession, reads: Reads, rows: Iterable[dict[str, Any]]) -> DataFrame:
    """Rows of a silver table as a flow reads them: only the columns it declares."""
    return frame(spark, reads.table, rows).select(*reads.columns)


def computed(spark: SparkSession, flow: Metric | Join, *inputs: Iterable[dict[str, Any]]) -> DataFrame:
    """What a gold flow makes of rows of its inputs, in the order it declares them."""
    return flow.function(*(read(spark, reads, rows) for reads, rows in zip(flow.reads, inputs, strict=True)))


def assert_rows(found: DataFrame, spark: SparkSession, table: Table, rows: Iterable[dict[str, Any]]) -> None:
    """The frame holds exactly these rows of the table, in any order."""
    assert_df_equality(found, frame(spark, table, rows), ignore_row_order=True, ignore_nullable=True, ignore_metadata=True)


def at(clock: str) -> datetime:
    """The instant of the promotion day at a UTC time of day: `at("00:00:59.5")`."""
    return datetime.fromisoformat(f"2026-11-11T{clock}+00:00")


def minute(clock: str) -> dict[str, datetime]:
    """The window columns of the minute that starts then."""
    return {"window_start": at(clock), "window_end": at(clock) + timedelta(minutes=1)}
