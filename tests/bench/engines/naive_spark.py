"""Spark Structured Streaming as tutorials show it: one query per table, each hop through Delta, default settings."""

from __future__ import annotations

from bench.engines.engine import Engine, Mode, Place, job


class NaiveSpark(Engine):
    name = "naive Spark"
    does = ("common", "all")
    slow = True  # 200 state stores a query and batch, whatever comes
    keeps = (
        "Delta, one row per grain, by MERGE in foreachBatch. Silver parses and does nothing else: no validation, deduplication or masking; "
        "distinct counts and percentiles are approximate; `all` leaves the join of orders with views and searches out"
    )

    def command(self, place: Place, mode: Mode) -> list[str]:
        return job("naive_spark_job.py", place, mode)
