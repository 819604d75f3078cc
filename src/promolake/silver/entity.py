"""What every silver entity has in common: its positions, its quarantine, and the pass that parses the records of its topic."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from promolake.bronze.envelope import bronze_table
from promolake.columns import codecs, event_time, payload, typed
from promolake.columns.once import once
from promolake.columns.text import readable
from promolake.core.flow import Ingest, Projection
from promolake.core.rule import Rule
from promolake.core.table import Column, Table
from promolake.core.topic import Topic

POSITION = (
    Column("partition", "int", "Kafka partition the event came from."),
    Column("offset", "bigint", "Its offset there."),
    Column("kafka_timestamp", "timestamp", "When the broker took it, UTC; how late it was is this minus event_time."),
    Column("payload_hash", "bigint", "xxHash64 of the raw bytes: tells a repetition from another event under the same id."),
    Column("ingested_at", "timestamp", "When its micro-batch was cut, UTC."),
)
IDENTITY = (
    Column("event_id", "string", "The producer's id of the event; unique here."),
    Column("event_time", "timestamp", "When it happened, UTC."),
)
QUARANTINED = (
    Column("violations", "array<string>", "Every rule the row breaks."),
    Column("topic", "string", "Kafka topic."),
    Column("partition", "int", "Kafka partition."),
    Column("offset", "bigint", "Offset within the partition."),
    Column("kafka_timestamp", "timestamp", "When the broker took the record, UTC."),
    Column("key", "binary", "The message key, raw."),
    Column("value", "binary", "The message value, raw: it may hold personal data in clear, as bronze does."),
    Column("headers", "array<struct<key:string,value:binary>>", "The message headers."),
    Column("ingested_at", "timestamp", "When its micro-batch was cut, UTC."),
)
VIOLATIONS = "violations"
ROW = "row"
EVENT_ID_HEADER = "event_id"
_HASH = "_payload_hash"
_HELD = "_held_"  # before a field's name
_BROKEN = "_broken"  # every reason as one text: empty for a good row, never NULL
_BETWEEN = "\x01"  # two violations; in the name of none


def ingest(
    topic: Topic, name: str, description: str, columns: tuple[Column, ...], projection: Projection, rules: tuple[Rule, ...]
) -> Ingest:
    """The flow of a topic into `silver.<name>` and `silver.quarantine_<name>`."""
    stats = ("event_time", "partition", "offset", "ingested_at")
    return Ingest(
        topic=topic,
        bronze=bronze_table(topic),
        table=Table(f"silver.{name}", description, (*IDENTITY, *columns, *POSITION), grain=("event_id",), stats=stats),
        quarantine=Table(
            f"silver.quarantine_{name}",
            f"Records of {topic.name} that break a rule, whole.",
            QUARANTINED,
            stats=("partition", "offset", "ingested_at"),
        ),
        projection=projection,
        rules=rules,
    )


def parsed(records: DataFrame, flow: Ingest) -> DataFrame:
    """Every record of the flow's topic: the envelope, `violations`, and `row`, a struct of the silver columns.

    In: bronze columns (without or with `ingested_at`) of that topic's records, and the two HMAC pad columns. Out: one row per record;
    `row` is filled where `violations` is empty, else NULL. Works on a stream and on a static frame.
    """
    envelope = [F.col(name) for name in records.columns if not name.startswith("hmac_")]
    judged = records.select("*", F.xxhash64("value").alias(_HASH), F.inline(F.array(_judged(flow))))
    none = F.array().cast("array<string>")
    judged = judged.withColumn(VIOLATIONS, F.when(F.col(_BROKEN) == "", none).otherwise(F.array_distinct(F.split(_BROKEN, _BETWEEN))))
    return judged.select(*envelope, VIOLATIONS, F.when(F.size(VIOLATIONS) == 0, _silver(flow)).alias(ROW))


def silver_rows(parsed_records: DataFrame, flow: Ingest) -> DataFrame:
    """The valid rows of the entity, not yet deduplicated. `parsed_records` has `ingested_at`."""
    columns = [F.col(name) if name == "ingested_at" else F.col(f"{ROW}.{name}").alias(name) for name in flow.table.column_names]
    return parsed_records.where(F.col(ROW).isNotNull()).select(*columns)


def quarantine_rows(parsed_records: DataFrame, flow: Ingest) -> DataFrame:
    """The rows that break a rule."""
    return parsed_records.where(F.size(VIOLATIONS) > 0).select(*flow.quarantine.column_names)


def _judged(flow: Ingest) -> SparkColumn:
    """A struct of each field's typed value, under its column's name (`_held`), and of what the record breaks (`_broken`).

    One expression from the bytes on: what it computes on the way is never written to a row (columns/once.py).
    """
    fields = [field for field in flow.topic.fields if field.kind != "time"]
    names = [*(field.flat for field in fields), "event_time"]

    def with_text(text: SparkColumn) -> SparkColumn:
        return once(codecs.given(flow.topic, text, readable(F.col("key"))), lambda given: with_given(text, given))

    def with_given(text: SparkColumn, given: SparkColumn) -> SparkColumn:
        texts = {field.flat: given[field.flat] for field in fields if field.flat != "event_id" or codecs.gives_id(flow.topic)}
        texts.setdefault("event_id", F.coalesce(_header(EVENT_ID_HEADER), F.concat_ws("-", "topic", "partition", "offset")))
        values = {field.flat: typed.value(field, texts[field.flat]) for field in fields} | {"event_time": given["event_time"]}
        return once(F.struct(*(value.alias(name) for name, value in values.items())), lambda held: with_held(text, given, texts, held))

    def with_held(text: SparkColumn, given: SparkColumn, texts: Mapping[str, SparkColumn], held: SparkColumn) -> SparkColumn:
        unreadable = F.when(text.isNull(), payload.envelope_problem(F.col("value"))).otherwise(given[codecs.PROBLEM])
        when = event_time.problem(given["event_time_text"], held["event_time"], F.col("kafka_timestamp"))
        problems = [typed.problem(field, texts[field.flat], held[field.flat]) for field in fields]
        rules = [F.when(~rule.holds(lambda name: held[name]), rule.name) for rule in flow.rules]
        broken = F.concat_ws(_BETWEEN, when, *(problem for problem in problems if problem is not None), *rules)
        return F.struct(*(held[name].alias(_HELD + name) for name in names), F.coalesce(unreadable, broken).alias(_BROKEN))

    return once(payload.text(F.col("value")), with_text)


def _held(name: str) -> SparkColumn:
    """A field's typed value."""
    return F.col(_HELD + name)


def _silver(flow: Ingest) -> SparkColumn:
    columns = flow.projection(_held)
    columns |= {name: _held(name) for name in ("event_id", "event_time")}
    columns |= {name: F.col(name) for name in ("partition", "offset", "kafka_timestamp")} | {"payload_hash": F.col(_HASH)}
    always = F.col("partition").isNotNull()  # makes every field nullable, as Arrow wants of the fields of a struct that may be NULL
    return F.struct(
        *(F.when(always, columns[c.name].try_cast(c.type)).alias(c.name) for c in flow.table.columns if c.name != "ingested_at")
    )


def _header(name: str) -> SparkColumn:
    return readable(F.get(F.filter("headers", lambda header: header["key"] == name), F.lit(0))["value"])
