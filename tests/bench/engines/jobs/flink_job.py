"""Kafka -> bronze and three windowed aggregates in Flink SQL, into Iceberg tables of a Hadoop catalog; no Python in the data path."""

from __future__ import annotations

import sys

from pyflink.table import EnvironmentSettings, TableEnvironment

KAFKA = (
    "'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{bootstrap}', "
    "'properties.group.id' = 'flink', 'scan.startup.mode' = 'earliest-offset'{bounded}"
)
ENVELOPE = """CREATE TABLE raw_{slug} (
    `topic` STRING METADATA VIRTUAL, `partition` INT METADATA VIRTUAL, `offset` BIGINT METADATA VIRTUAL,
    kafka_timestamp TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL, `key` BYTES, `value` BYTES
) WITH ({kafka}, 'key.format' = 'raw', 'key.fields' = 'key', 'value.format' = 'raw', 'value.fields-include' = 'EXCEPT_KEY')"""
ORDERS = """CREATE TABLE orders (
    event_time STRING, product_id STRING, category STRING, quantity BIGINT, unit_price DECIMAL(18, 4), currency STRING, status STRING,
    happened AS TO_TIMESTAMP(REPLACE(SUBSTRING(event_time, 1, 23), 'T', ' ')) - INTERVAL '8' HOUR,
    WATERMARK FOR happened AS happened
) WITH ({kafka}, 'format' = 'json')"""
# Access logs name their offset; Flink's patterns read a local time, so the hours are taken off by hand.
ACCESS = """CREATE TABLE access (
    line STRING,
    happened AS TIMESTAMPADD(HOUR, CASE WHEN REGEXP_EXTRACT(line, '\\[\\S+ ([^\\]]+)\\]', 1) = '+0800' THEN -8 ELSE 0 END,
        TO_TIMESTAMP(REGEXP_EXTRACT(line, '\\[(\\S+) ', 1), 'dd/MMM/yyyy:HH:mm:ss')),
    WATERMARK FOR happened AS happened
) WITH ({kafka}, 'format' = 'raw')"""
WINDOW = "window_start TIMESTAMP(6), window_end TIMESTAMP(6)"
TABLES = {
    "bronze.shop_orders": "`topic` STRING, `partition` INT, `offset` BIGINT, kafka_timestamp TIMESTAMP_LTZ(6), `key` BYTES, `value` BYTES",
    "bronze.site_access": "`topic` STRING, `partition` INT, `offset` BIGINT, kafka_timestamp TIMESTAMP_LTZ(6), `key` BYTES, `value` BYTES",
    "gold.gmv_per_minute": f"{WINDOW}, currency STRING, category STRING, gmv_amount DECIMAL(28, 4), sale_count BIGINT",
    "gold.sales_per_product_per_minute": f"{WINDOW}, currency STRING, product_id STRING, sales_amount DECIMAL(28, 4), "
    "unit_count BIGINT, sale_count BIGINT",
    "gold.requests_per_ip_per_minute": f"{WINDOW}, ip STRING, request_count BIGINT, page_view_count BIGINT, failed_count BIGINT",
}
SALE = "status = 'PAID' AND quantity > 0 AND unit_price > 0"
AMOUNT = "CAST(SUM(quantity * unit_price) AS DECIMAL(28, 4))"
PAGE = (
    'REGEXP(line, \'"GET [^"]*" 200 \') AND NOT REGEXP(line, \'(?i)"GET [^?" ]*\\.(png|jpg|jpeg|gif|ico|css|js|woff|ttf|svg|eot|map)[? ]\')'
)
QUESTIONS = {
    "bronze.shop_orders": "SELECT `topic`, `partition`, `offset`, kafka_timestamp, `key`, `value` FROM raw_shop_orders",
    "bronze.site_access": "SELECT `topic`, `partition`, `offset`, kafka_timestamp, `key`, `value` FROM raw_site_access",
    "gold.gmv_per_minute": f"SELECT window_start, window_end, currency, category, {AMOUNT}, COUNT(*) "
    f"FROM {{orders}} WHERE {SALE} GROUP BY window_start, window_end, currency, category",
    "gold.sales_per_product_per_minute": f"SELECT window_start, window_end, currency, product_id, {AMOUNT}, SUM(quantity), COUNT(*) "
    f"FROM {{orders}} WHERE {SALE} GROUP BY window_start, window_end, currency, product_id",
    "gold.requests_per_ip_per_minute": "SELECT window_start, window_end, SPLIT_INDEX(line, ' ', 0), COUNT(*), "
    f"SUM(CASE WHEN {PAGE} THEN CAST(1 AS BIGINT) ELSE CAST(0 AS BIGINT) END), "
    "SUM(CASE WHEN REGEXP(line, '\" [45][0-9]{{2}} ') THEN CAST(1 AS BIGINT) ELSE CAST(0 AS BIGINT) END) "
    "FROM {access} GROUP BY window_start, window_end, SPLIT_INDEX(line, ' ', 0)",
}


def windowed(table: str, live: bool) -> str:
    """A minute's sums once it is over; live, also each second so far, which the reader takes the latest of."""
    shape, step = ("CUMULATE", "INTERVAL '1' SECOND, ") if live else ("TUMBLE", "")
    return f"TABLE({shape}(TABLE {table}, DESCRIPTOR(happened), {step}INTERVAL '1' MINUTE))"


def main(lake: str, bootstrap: str, live: bool) -> None:
    flink = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    options = {
        "parallelism.default": "2",
        "table.local-time-zone": "UTC",
        "execution.checkpointing.interval": "1 s" if live else "2 s",
        "execution.checkpointing.min-pause": "100 ms",
        "state.checkpoints.dir": f"file://{lake}/../checkpoints",
    }
    for key, value in options.items():
        flink.get_config().set(key, value)
    bounded = "" if live else ", 'scan.bounded.mode' = 'latest-offset'"
    for slug in ("shop_orders", "site_access"):
        kafka = KAFKA.format(topic=slug.replace("_", "."), bootstrap=bootstrap, bounded=bounded)
        flink.execute_sql(ENVELOPE.format(slug=slug, kafka=kafka))
        flink.execute_sql((ORDERS if slug == "shop_orders" else ACCESS).format(kafka=kafka))
    flink.execute_sql(f"CREATE CATALOG lake WITH ('type' = 'iceberg', 'catalog-type' = 'hadoop', 'warehouse' = 'file://{lake}')")
    inserts = flink.create_statement_set()
    for layer in ("bronze", "gold"):
        flink.execute_sql(f"CREATE DATABASE lake.{layer}")
    for name, columns in TABLES.items():
        flink.execute_sql(f"CREATE TABLE lake.{name} ({columns})")
        question = QUESTIONS[name].format(orders=windowed("orders", live), access=windowed("access", live))
        inserts.add_insert_sql(f"INSERT INTO lake.{name} {question}")
    job = inserts.execute()
    print("running", flush=True)
    job.wait()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[4] == "live")
