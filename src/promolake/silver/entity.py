"""What every silver entity has in common: its positions, its quarantine, and the one pass that parses all topics of a scan."""

from __future__ import annotations

from collections.abc import Sequence

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
EVENT_ID_HEADER = "event_id"


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


def parsed(records: DataFrame, ingests: Sequence[Ingest]) -> DataFrame:
    """Every record of every topic in one pass: the envelope, `violations`, and per entity a struct of its silver columns.

    In: bronze columns (without or with `ingested_at`) and the two HMAC pad columns. Out: one row per record; the struct of the
    entity its topic feeds is filled where `violations` is empty, all others are NULL. Works on a stream and on a static frame.
    """
    envelope = [F.col(name) for name in records.columns if not name.startswith("hmac_")]
    staged = records.withColumns({"_text": payload.text(F.col("value")), "_envelope_problem": payload.envelope_problem(F.col("value"))})
    decoders = {flow.table.short: codecs.decoder(flow.topic) for flow in ingests}
    for depth in range(max(len(decoder.stages) for decoder in decoders.values())):
        staged = staged.withColumns(
            {
                f"_decoded_{flow.table.short}": F.when(
                    F.col("topic") == flow.topic.name,
                    decoders[flow.table.short].stages[depth](F.col("_text"), F.col(f"_decoded_{flow.table.short}") if depth else None),
                )
                for flow in ingests
                if depth < len(decoders[flow.table.short].stages)
            }
        )
    given = {flow.table.short: _given(flow, decoders[flow.table.short]) for flow in ingests}
    staged = staged.withColumns({f"_given_{flow.table.short}": _when_ours(flow, _struct(given[flow.table.short])) for flow in ingests})
    staged = staged.withColumns({f"_typed_{flow.table.short}": _when_ours(flow, _typed(flow)) for flow in ingests})
    staged = staged.withColumn(VIOLATIONS, _violations(ingests, decoders))
    return staged.select(
        *envelope,
        VIOLATIONS,
        *(
            F.when((F.col("topic") == flow.topic.name) & (F.size(VIOLATIONS) == 0), _silver(flow)).alias(flow.table.short)
            for flow in ingests
        ),
    )


def silver_rows(parsed_records: DataFrame, flow: Ingest) -> DataFrame:
    """The valid rows of one entity, not yet deduplicated. `parsed_records` has `ingested_at`."""
    short = flow.table.short
    columns = [F.col("ingested_at") if name == "ingested_at" else F.col(f"{short}.{name}").alias(name) for name in flow.table.column_names]
    return parsed_records.where(F.col(short).isNotNull()).select(*columns)


def quarantine_rows(parsed_records: DataFrame, flow: Ingest) -> DataFrame:
    """The rows of one topic that break a rule."""
    broken = (F.col("topic") == flow.topic.name) & (F.size(VIOLATIONS) > 0)
    return parsed_records.where(broken).select(*flow.quarantine.column_names)


def _when_ours(flow: Ingest, column: SparkColumn) -> SparkColumn:
    return F.when(F.col("topic") == flow.topic.name, column)


def _struct(columns: dict[str, SparkColumn]) -> SparkColumn:
    return F.struct(*(column.alias(name) for name, column in columns.items()))


def _given(flow: Ingest, decoder: codecs.Decoder) -> dict[str, SparkColumn]:
    """The source texts by column name, and the event time both read and as text."""
    found = decoder.fields(F.col(f"_decoded_{flow.table.short}"), F.col("key").cast("string"))
    if "event_id" not in found:
        found["event_id"] = F.coalesce(_header(EVENT_ID_HEADER), F.concat_ws("-", "topic", "partition", "offset"))
    return {name.replace(".", "_"): column for name, column in found.items()}


def _typed(flow: Ingest) -> SparkColumn:
    given = F.col(f"_given_{flow.table.short}")
    values = {field.flat: typed.value(field, given[field.flat]) for field in flow.topic.fields if field.kind != "time"}
    return _struct({"event_time": given["event_time"]} | values)


def _violations(ingests: Sequence[Ingest], decoders: dict[str, codecs.Decoder]) -> SparkColumn:
    """Why the payload cannot be read, or every field and rule it breaks; an empty array for a good row, never NULL for one of ours."""
    branches = F.lit(None).cast("array<string>")
    for flow in ingests:
        short = flow.table.short
        unreadable = F.coalesce("_envelope_problem", decoders[short].problem(F.col("_text"), F.col(f"_decoded_{short}")))
        broken = F.when(unreadable.isNotNull(), F.array(unreadable)).otherwise(F.array_distinct(F.array_compact(F.array(*_broken(flow)))))
        branches = F.when(F.col("topic") == flow.topic.name, broken).otherwise(branches)
    return branches


def _broken(flow: Ingest) -> list[SparkColumn]:
    given, held = F.col(f"_given_{flow.table.short}"), F.col(f"_typed_{flow.table.short}")
    when = event_time.problem(given["event_time_text"], held["event_time"], F.col("kafka_timestamp"))
    fields = [
        typed.problem(field, given[field.flat], held[field.flat]) for field in flow.topic.fields if field.kind != "time"
    ]
    rules = [F.when(~rule.holds(lambda name: held[name]), rule.name) for rule in flow.rules]
    return [when, *(problem for problem in fields if problem is not None), *rules]


def _silver(flow: Ingest) -> SparkColumn:
    held = F.col(f"_typed_{flow.table.short}")
    columns = flow.projection(lambda name: held[name])
    columns |= {name: held[name] for name in ("event_id", "event_time")}
    columns |= {name: F.col(name) for name in ("partition", "offset", "kafka_timestamp")} | {"payload_hash": F.xxhash64("value")}
    has_value = F.col("value").isNotNull()  # makes every field nullable, as Arrow wants of the fields of a struct that may be NULL
    return F.struct(
        *(F.when(has_value, columns[c.name].try_cast(c.type)).alias(c.name) for c in flow.table.columns if c.name != "ingested_at")
    )


def _header(name: str) -> SparkColumn:
    return F.get(F.filter("headers", lambda header: header["key"] == name), F.lit(0))["value"].cast("string")
