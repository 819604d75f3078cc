"""How loaded are the machines? Average and exact 75th percentile of CPU, memory and I/O, per host and over all hosts (`*`).

Exact percentiles do not add up, so a late row has its minute computed anew from silver, however late.
"""

from __future__ import annotations

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from promolake.core.flow import Metric, Reads
from promolake.core.table import Column, Table, Written
from promolake.gold.window import STATS, WINDOW, window_end, window_start
from promolake.silver.machine_metrics import FLOW as MACHINE_METRICS

ALL_HOSTS = "*"
MEASURED = ("cpu", "mem", "io")

TABLE = Table(
    "gold.machine_metrics_per_minute",
    "CPU, memory and I/O per minute and host; host `*` is all hosts together.",
    (
        *WINDOW,
        Column("host", "string", "The machine or pod; `*` is all of them."),
        Column("sample_count", "bigint", "Samples."),
        *(
            Column(f"{name}_{figure}", "double", f"{words} of {name}, percent; NULL where none was measured.")
            for name in MEASURED
            for figure, words in (("avg", "Average"), ("p75", "75th percentile, linear interpolation (Hyndman and Fan 1996, type 7),"))
        ),
    ),
    Written.REPLACE,
    grain=("window_start", "host"),
    stats=STATS,
)


def machine_metrics_per_minute(machine_metrics: DataFrame) -> DataFrame:
    """In: rows of silver.machine_metrics, whole minutes. Out: one row per minute and host, and one per minute for all hosts."""
    hosts = F.explode(F.array("host", F.lit(ALL_HOSTS))).alias("host")
    figures = [of(name) for name in MEASURED for of in (_average, _p75)]
    return (
        machine_metrics.select(window_start(), hosts, *MEASURED)
        .groupBy("window_start", "host")
        .agg(F.count("*").alias("sample_count"), *figures)
        .withColumn("window_end", window_end())
        .select(*TABLE.column_names)
    )


def _p75(name: str) -> SparkColumn:
    return F.percentile(name, 0.75).alias(f"{name}_p75")


def _average(name: str) -> SparkColumn:
    """The mean, adding in ascending order: floating-point sums depend on the order, and a stream's order is not a batch's."""
    values = F.sort_array(F.collect_list(name))
    return F.try_divide(F.aggregate(values, F.lit(0.0), lambda total, value: total + value), F.size(values)).alias(f"{name}_avg")


FLOW = Metric(TABLE, (Reads(MACHINE_METRICS.table, ("event_time", "host", *MEASURED)),), machine_metrics_per_minute)
