"""A Kafka topic as a stream of bronze's columns."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F


def kafka_records(spark: SparkSession, options: Mapping[str, str]) -> DataFrame:
    """Every record Spark's `kafka` source gives under these options, with all of bronze's columns but `ingested_at`."""
    headers = F.coalesce("headers", F.array().cast("array<struct<key:string,value:binary>>")).alias("headers")
    rows = spark.readStream.format("kafka").options(**options).load()
    return rows.select("topic", "partition", "offset", F.col("timestamp").alias("kafka_timestamp"), "key", "value", headers)
