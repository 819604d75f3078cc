"""silver.machine_metrics: every sample of a machine's CPU, memory and I/O."""

from __future__ import annotations

from pyspark.sql import Column as SparkColumn

from promolake.core.rule import Row, Rule
from promolake.core.table import Column
from promolake.silver.entity import ingest
from promolake.sources.metrics import TOPIC

RULES = (
    Rule("host_is_one", "`*` stands for all hosts in gold, so no host may be called so.", lambda sample: sample("host") != "*"),
    Rule(
        "has_a_figure",
        "A sample measures something.",
        lambda sample: sample("cpu").isNotNull() | sample("mem").isNotNull() | sample("io").isNotNull(),
    ),
)


def projection(sample: Row) -> dict[str, SparkColumn]:
    return {name: sample(name) for name in ("host", "cpu", "mem", "io")}


FLOW = ingest(
    TOPIC,
    "machine_metrics",
    "Samples of machines and pods.",
    (
        Column("host", "string", "The machine or pod."),
        Column("cpu", "double", "CPU in use, percent."),
        Column("mem", "double", "Memory in use, percent."),
        Column("io", "double", "I/O in use, percent."),
    ),
    projection,
    RULES,
)
