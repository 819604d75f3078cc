"""The bronze table of a topic: every Kafka record as it came, plus when its batch was cut."""

from __future__ import annotations

from promolake.core.table import Column, Table
from promolake.core.topic import Topic

COLUMNS = (
    Column("topic", "string", "Kafka topic."),
    Column("partition", "int", "Kafka partition."),
    Column("offset", "bigint", "Offset within the partition; with it, unique."),
    Column("kafka_timestamp", "timestamp", "When the broker took the record (LogAppendTime), UTC."),
    Column("key", "binary", "The message key, raw."),
    Column("value", "binary", "The message value, raw. The only place personal data stands in clear."),
    Column("headers", "array<struct<key:string,value:binary>>", "The message headers."),
    Column("ingested_at", "timestamp", "When the micro-batch was cut, UTC; the same again when the batch is replayed."),
)


def bronze_table(topic: Topic) -> Table:
    """One row per Kafka record of the topic."""
    return Table(
        f"bronze.{topic.slug}",
        f"Every record of {topic.name}, raw.",
        COLUMNS,
        stats=("partition", "offset", "kafka_timestamp", "ingested_at"),
    )
