"""What every silver entity has in common: its positions, its quarantine, and the pass that parses the records of its topic."""

from __future__ import annotations

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from promolake.bronze.envelope import bronze_table
from promolake.columns import codecs, event_time, payload, typed
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
_DECODED = "_decoded"
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

    Each step is columns of their own, never a struct: reading a field out of a struct costs an interpreted row more than most of what
    is done with it (DECISIONS.md).
    """
    envelope = [F.col(name) for name in records.columns if not name.startswith("hmac_")]
    decoder = codecs.decoder(flow.topic)
    staged = records.withColumns({"_text": payload.text(F.col("value")), "_envelope_problem": payload.envelope_problem(F.col("value"))})
    for depth, stage in enumerate(decoder.stages):
        staged = staged.withColumn(_DECODED, stage(F.col("_text"), F.col(_DECODED) if depth else None))
    staged = staged.withColumns({f"_given_{name}": column for name, column in _given(decoder).items()})
    staged = staged.withColumns({f"_typed_{name}": column for name, column in _typed(flow).items()})
    staged = staged.withColumn("_broken", _broken(flow, decoder))
    none = F.array().cast("array<string>")
    staged = staged.withColumn(VIOLATIONS, F.when(F.col("_broken") == "", none).otherwise(F.array_distinct(F.split("_broken", _BETWEEN))))
    return staged.select(*envelope, VIOLATIONS, F.when(F.size(VIOLATIONS) == 0, _silver(flow)).alias(ROW))


def silver_rows(parsed_records: DataFrame, flow: Ingest) -> DataFrame:
    """The valid rows of the entity, not yet deduplicated. `parsed_records` has `ingested_at`."""
    columns = [F.col(name) if name == "ingested_at" else F.col(f"{ROW}.{name}").alias(name) for name in flow.table.column_names]
    return parsed_records.where(F.col(ROW).isNotNull()).select(*columns)


def quarantine_rows(parsed_records: DataFrame, flow: Ingest) -> DataFrame:
    """The rows that break a rule."""
    return parsed_records.where(F.size(VIOLATIONS) > 0).select(*flow.quarantine.column_names)


def _given(decoder: codecs.Decoder) -> dict[str, SparkColumn]:
    """The source texts by column name, and the event time both read and as text."""
    found = decoder.fields(F.col(_DECODED), F.col("key").cast("string"))
    if "event_id" not in found:
        found["event_id"] = F.coalesce(_header(EVENT_ID_HEADER), F.concat_ws("-", "topic", "partition", "offset"))
    return {name.replace(".", "_"): column for name, column in found.items()}


def _typed(flow: Ingest) -> dict[str, SparkColumn]:
    given = {field.flat: F.col(f"_given_{field.flat}") for field in flow.topic.fields}
    return {field.flat: typed.value(field, given[field.flat]) for field in flow.topic.fields if field.kind != "time"}


def _held(name: str) -> SparkColumn:
    """A field's typed value."""
    return F.col("_given_event_time" if name == "event_time" else f"_typed_{name}")


def _broken(flow: Ingest, decoder: codecs.Decoder) -> SparkColumn:
    """Why the payload cannot be read, or every field and rule it breaks, as one text: empty for a good row, never NULL."""
    unreadable = F.coalesce("_envelope_problem", decoder.problem(F.col("_text"), F.col(_DECODED)))
    when = event_time.problem(F.col("_given_event_time_text"), _held("event_time"), F.col("kafka_timestamp"))
    fields = [typed.problem(field, F.col(f"_given_{field.flat}"), _held(field.flat)) for field in flow.topic.fields if field.kind != "time"]
    rules = [F.when(~rule.holds(_held), rule.name) for rule in flow.rules]
    return F.coalesce(unreadable, F.concat_ws(_BETWEEN, when, *(problem for problem in fields if problem is not None), *rules))


def _silver(flow: Ingest) -> SparkColumn:
    columns = flow.projection(_held)
    columns |= {name: _held(name) for name in ("event_id", "event_time")}
    columns |= {name: F.col(name) for name in ("partition", "offset", "kafka_timestamp")} | {"payload_hash": F.xxhash64("value")}
    has_value = F.col("value").isNotNull()  # makes every field nullable, as Arrow wants of the fields of a struct that may be NULL
    return F.struct(
        *(F.when(has_value, columns[c.name].try_cast(c.type)).alias(c.name) for c in flow.table.columns if c.name != "ingested_at")
    )


def _header(name: str) -> SparkColumn:
    return F.get(F.filter("headers", lambda header: header["key"] == name), F.lit(0))["value"].cast("string")
