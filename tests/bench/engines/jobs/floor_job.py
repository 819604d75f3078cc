"""Kafka -> bronze and three gold tables by hand: librdkafka reads, Polars parses and sums, delta-rs appends."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

import polars as pl
from confluent_kafka import Message
from consuming import COMMON_TOPICS, Backlog
from deltalake import CommitProperties, Transaction, write_deltalake

MOST = 50_000
ORDER = {"event_time": pl.String, "product_id": pl.String, "category": pl.String, "quantity": pl.Int64}
ORDER |= {"unit_price": pl.String, "currency": pl.String, "status": pl.String}
LINE = r'^(?P<ip>\S+) \S+ \S+ \[(?P<time>[^\]]+)\] "(?P<method>\S+) (?P<path>\S+)[^"]*" (?P<status>\d{3})'
ASSET = r"(?i)\.(png|jpg|jpeg|gif|ico|css|js|woff|ttf|svg|eot|map)$"
MONEY = pl.Decimal(28, 4)


def envelope(messages: list[Message]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "topic": [message.topic() for message in messages],
            "partition": [message.partition() for message in messages],
            "offset": [message.offset() for message in messages],
            "kafka_timestamp": [message.timestamp()[1] for message in messages],
            "key": [message.key() for message in messages],
            "value": [message.value() for message in messages],
        },
        schema={
            "topic": pl.String,
            "partition": pl.Int32,
            "offset": pl.Int64,
            "kafka_timestamp": pl.Int64,
            "key": pl.Binary,
            "value": pl.Binary,
        },
    ).with_columns(pl.col("kafka_timestamp").cast(pl.Datetime("ms", "UTC")).cast(pl.Datetime("us", "UTC")))


def sales(records: pl.DataFrame) -> pl.DataFrame:
    text = records["value"].cast(pl.String)
    lines = pl.select(pl.lit(text).str.json_decode(pl.Struct(ORDER)).alias("line")).unnest("line")
    amount = pl.col("unit_price").cast(pl.Decimal(18, 4)) * pl.col("quantity").cast(pl.Decimal(10, 0))
    return (
        lines.filter((pl.col("status") == "PAID") & (pl.col("quantity") > 0))
        .with_columns(
            window_start=pl.col("event_time").str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="us", time_zone="UTC").dt.truncate("1m"),
            amount=amount.cast(MONEY),
        )
        .filter(pl.col("amount") > 0)
    )


def requests(records: pl.DataFrame) -> pl.DataFrame:
    text = records["value"].cast(pl.String)
    lines = pl.select(pl.lit(text).str.extract_groups(LINE).alias("line")).unnest("line")
    page = pl.col("path").str.split("?").list.first().str.contains(ASSET).not_()
    return lines.select(
        "ip",
        window_start=pl.col("time").str.to_datetime("%d/%b/%Y:%H:%M:%S %z", time_unit="us", time_zone="UTC").dt.truncate("1m"),
        is_page_view=(pl.col("method") == "GET") & (pl.col("status") == "200") & page,
        is_failed=pl.col("status") >= "400",
    )


def gold(orders: pl.DataFrame, access: pl.DataFrame) -> dict[str, pl.DataFrame]:
    found = {}
    if len(orders):
        sold = sales(orders)
        found["gmv_per_minute"] = sold.group_by("window_start", "currency", "category").agg(
            gmv_amount=pl.col("amount").sum().cast(MONEY), sale_count=pl.len().cast(pl.Int64)
        )
        found["sales_per_product_per_minute"] = sold.group_by("window_start", "currency", "product_id").agg(
            sales_amount=pl.col("amount").sum().cast(MONEY), unit_count=pl.col("quantity").sum(), sale_count=pl.len().cast(pl.Int64)
        )
    if len(access):
        found["requests_per_ip_per_minute"] = (
            requests(access)
            .group_by("window_start", "ip")
            .agg(
                request_count=pl.len().cast(pl.Int64),
                page_view_count=pl.col("is_page_view").sum().cast(pl.Int64),
                failed_count=pl.col("is_failed").sum().cast(pl.Int64),
            )
        )
    return found


def main(lake: Path, bootstrap: str, live: bool) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    backlog, batch = Backlog(bootstrap, COMMON_TOPICS), 0
    print("running", flush=True)
    while not stop.is_set() and (live or not backlog.is_read):
        messages = backlog.taken(MOST, 0.2)
        if not messages:
            continue
        written = CommitProperties(app_transactions=[Transaction("floor", batch)])
        records = envelope(messages)
        parts = {topic: records.filter(pl.col("topic") == topic) for topic in COMMON_TOPICS}
        for name, rows in gold(*parts.values()).items():
            write_deltalake(lake / "gold" / name, rows, mode="append", commit_properties=written)
        for topic, rows in parts.items():
            if len(rows):
                write_deltalake(lake / "bronze" / topic.replace(".", "_"), rows, mode="append", commit_properties=written)
        batch += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[4] == "live")
