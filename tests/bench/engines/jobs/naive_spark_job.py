"""A medallion as tutorials build it: a streaming query per table, defaults throughout, MERGE in foreachBatch for gold."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from delta.tables import DeltaTable
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.streaming import DataStreamWriter, StreamingQuery

from promolake.engine.jars import SPARK_JARS, resolved

BRONZE = "topic STRING, partition INT, offset BIGINT, timestamp TIMESTAMP, key BINARY, value BINARY"
JSON = {
    "shop_orders": "event_id STRING, event_time STRING, order_id STRING, line_number BIGINT, user_id STRING, product_id STRING, "
    "category STRING, quantity BIGINT, unit_price STRING, currency STRING, status STRING, channel STRING, ip STRING",
    "shop_searches": "event_id STRING, event_time BIGINT, user_id STRING, session_id STRING, query STRING, result_count BIGINT, ip STRING",
    "shop_views": "event_id STRING, event_time STRING, user_id STRING, session_id STRING, product_id STRING, category STRING, ip STRING",
    "machine_metrics": "event_id STRING, event_time BIGINT, host STRING, cpu DOUBLE, mem DOUBLE, io DOUBLE",
}
ENTITIES = {
    "shop_orders": "orders",
    "site_access": "requests",
    "shop_searches": "searches",
    "shop_views": "views",
    "machine_metrics": "machine_metrics",
    "app_logs": "log_events",
}
COMMON_TOPICS = ("shop_orders", "site_access")
COMMON_TABLES = ("gmv_per_minute", "sales_per_product_per_minute", "requests_per_ip_per_minute")
ASSET = r"(?i)\.(png|jpg|jpeg|gif|ico|css|js|woff|ttf|svg|eot|map)$"
LINE = r'^(\S+) \S+ \S+ \[([^\]]+)\] "(\S+) (\S+)[^"]*" (\d{3}) (\S+)'
MONEY = "decimal(28,4)"


def silver(topic: str, bronze: DataFrame) -> DataFrame:
    text = F.col("value").cast("string")
    if topic == "site_access":
        return requests(bronze.withColumn("line", text))
    if topic == "app_logs":
        return log_events(bronze.withColumn("line", text))
    parsed = bronze.select(F.from_json(text, JSON[topic]).alias("e")).select("e.*")
    if "event_time BIGINT" in JSON[topic]:
        parsed = parsed.withColumn("event_time", (F.col("event_time") / 1000).cast("timestamp"))
    else:
        parsed = parsed.withColumn("event_time", F.to_timestamp("event_time"))
    if topic == "shop_orders":
        parsed = parsed.withColumn("line_amount", (F.col("quantity") * F.col("unit_price").cast("decimal(18,4)")).cast(MONEY))
    return parsed


def requests(bronze: DataFrame) -> DataFrame:
    part = {name: F.regexp_extract("line", LINE, n + 1) for n, name in enumerate(("ip", "time", "method", "path", "status", "bytes"))}
    return (
        bronze.select(*(column.alias(name) for name, column in part.items()))
        .withColumn("event_time", F.to_timestamp("time", "dd/MMM/yyyy:HH:mm:ss Z"))
        .withColumn("status", F.col("status").cast("int"))
        .withColumn("bytes", F.when(F.col("bytes") == "-", 0).otherwise(F.col("bytes").try_cast("bigint")))
        .withColumn(
            "is_page_view",
            (F.col("method") == "GET") & (F.col("status") == 200) & ~F.substring_index("path", "?", 1).rlike(ASSET),
        )
    )


def log_events(bronze: DataFrame) -> DataFrame:
    time = r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)[.,](\d{3})"
    return bronze.select(
        F.to_timestamp(F.concat_ws(" ", F.regexp_extract("line", time, 1), F.regexp_extract("line", time, 2))).alias("event_time"),
        F.upper(F.regexp_extract("line", r"(?i)\b(trace|debug|info|warn|error|fatal)\b", 1)).alias("level"),
        F.col("key").cast("string").alias("service"),
        F.col("line").alias("message"),
    )


def per_minute(rows: DataFrame, *grain: str, **figures: Column) -> DataFrame:
    return (
        rows.withWatermark("event_time", "10 minutes")
        .groupBy(F.window("event_time", "1 minute").alias("w"), *grain)
        .agg(*(column.alias(name) for name, column in figures.items()))
        .select(F.col("w.start").alias("window_start"), F.col("w.end").alias("window_end"), *grain, *figures)
    )


def is_sale() -> Column:
    return (F.col("status") == "PAID") & (F.col("line_amount") > 0)


def sold() -> dict[str, Column]:
    return {"unit_count": F.sum(F.when(is_sale(), F.col("quantity")).otherwise(0)), "sale_count": F.count_if(is_sale())}


USAGE = ("cpu", "mem", "io")


def amount(which: Column, value: Column) -> Column:
    return F.sum(F.when(which, value).otherwise(F.lit(0).cast(MONEY))).cast(MONEY)


def gmv(orders: DataFrame) -> DataFrame:
    return per_minute(
        orders,
        "currency",
        "category",
        gmv_amount=amount(is_sale(), F.col("line_amount")),
        refund_amount=amount(F.col("status").isin("CANCELLED", "REFUNDED"), -F.abs("line_amount")),
        ordered_amount=amount(F.col("status") == "PLACED", F.col("line_amount")),
        order_count=F.approx_count_distinct(F.when(is_sale(), F.col("order_id"))),
        buyer_count=F.approx_count_distinct(F.when(is_sale(), F.col("user_id"))),
        **sold(),
    )


def sales_per_product(orders: DataFrame) -> DataFrame:
    return per_minute(orders, "currency", "product_id", sales_amount=amount(is_sale(), F.col("line_amount")), **sold())


def requested() -> dict[str, Column]:
    failed = F.count_if(F.col("status") >= 400)
    return {"request_count": F.count("*"), "page_view_count": F.count_if("is_page_view"), "failed_count": failed}


def requests_per_ip(access: DataFrame) -> DataFrame:
    return per_minute(access, "ip", **requested())


def traffic(access: DataFrame) -> DataFrame:
    return per_minute(access, **requested(), visitor_count=F.approx_count_distinct("ip"), byte_count=F.sum("bytes"))


def machine_metrics(samples: DataFrame) -> DataFrame:
    averages = {f"{name}_avg": F.avg(name) for name in USAGE}
    quartiles = {f"{name}_p75": F.percentile_approx(name, 0.75) for name in USAGE}
    both = samples.withColumn("host", F.explode(F.array("host", F.lit("*"))))
    return per_minute(both, "host", sample_count=F.count("*"), **averages, **quartiles)


def errors(log_events: DataFrame) -> DataFrame:
    return per_minute(log_events, "service", error_count=F.count_if(F.col("level") == "ERROR"), event_count=F.count("*"))


def funnel(searches: DataFrame, views: DataFrame, orders: DataFrame) -> DataFrame:
    stages = [
        rows.select("event_time", "user_id", F.lit(stage).alias("stage"))
        for stage, rows in (("search", searches), ("view", views), ("order", orders.where(is_sale())))
    ]
    at = {stage: F.col("stage") == stage for stage in ("search", "view", "order")}
    counted = {f"{stage}_count": F.count_if(is_it) for stage, is_it in at.items()}
    users = {f"{stage}_user_count": F.approx_count_distinct(F.when(is_it, F.col("user_id"))) for stage, is_it in at.items()}
    return per_minute(stages[0].union(stages[1]).union(stages[2]), **counted, **users)


GOLD: dict[str, tuple[Callable[..., DataFrame], tuple[str, ...], tuple[str, ...]]] = {
    "gmv_per_minute": (gmv, ("orders",), ("currency", "category")),
    "sales_per_product_per_minute": (sales_per_product, ("orders",), ("currency", "product_id")),
    "requests_per_ip_per_minute": (requests_per_ip, ("requests",), ("ip",)),
    "traffic_per_minute": (traffic, ("requests",), ()),
    "machine_metrics_per_minute": (machine_metrics, ("machine_metrics",), ("host",)),
    "errors_per_minute": (errors, ("log_events",), ("service",)),
    "funnel_per_minute": (funnel, ("searches", "views", "orders"), ()),
}
"""Function, silver tables it reads, grain beside the minute."""


class Medallion:
    """The queries of one lake, layer by layer."""

    def __init__(self, spark: SparkSession, lake: Path, bootstrap: str, work: str, once: bool) -> None:
        self._spark = spark
        self._lake = lake
        self._bootstrap = bootstrap
        self._once = once
        self._topics = [topic for topic in ENTITIES if work == "all" or topic in COMMON_TOPICS]
        self._gold = [name for name in GOLD if work == "all" or name in COMMON_TABLES]

    def bronze(self) -> list[StreamingQuery]:
        return [self._appending(self._kafka(topic), "bronze", topic) for topic in self._topics]

    def silver(self) -> list[StreamingQuery]:
        return [self._appending(silver(topic, self._stream("bronze", topic)), "silver", ENTITIES[topic]) for topic in self._topics]

    def gold(self) -> list[StreamingQuery]:
        started = []
        for name in self._gold:
            function, reads, grain = GOLD[name]
            rows = function(*(self._stream("silver", table) for table in reads))
            writer = rows.writeStream.outputMode("update").foreachBatch(self._merging(name, ("window_start", *grain)))
            started.append(self._started(writer, "gold", name))
        return started

    def create(self) -> None:
        """Empty tables, so that the next hop can begin to read them before anything has come."""
        for topic in self._topics:
            empty = self._spark.createDataFrame([], BRONZE)
            empty.write.format("delta").mode("ignore").save(self._path("bronze", topic))
            silver(topic, empty).write.format("delta").mode("ignore").save(self._path("silver", ENTITIES[topic]))

    def _kafka(self, topic: str) -> DataFrame:
        options = {"kafka.bootstrap.servers": self._bootstrap, "subscribe": topic.replace("_", "."), "startingOffsets": "earliest"}
        return self._spark.readStream.format("kafka").options(**options).load().select(*(part.split()[0] for part in BRONZE.split(", ")))

    def _stream(self, layer: str, name: str) -> DataFrame:
        return self._spark.readStream.format("delta").load(self._path(layer, name))

    def _appending(self, rows: DataFrame, layer: str, name: str) -> StreamingQuery:
        return self._started(rows.writeStream.format("delta").option("path", self._path(layer, name)), layer, name)

    def _started(self, writer: DataStreamWriter, layer: str, name: str) -> StreamingQuery:
        checkpoint = str(self._lake.parent / "checkpoints" / f"{layer}.{name}")
        writer = writer.queryName(f"{layer}.{name}").option("checkpointLocation", checkpoint)
        return (writer.trigger(availableNow=True) if self._once else writer).start()

    def _merging(self, name: str, keys: tuple[str, ...]) -> Callable[[DataFrame, int], None]:
        path = self._path("gold", name)
        same = " AND ".join(f"old.{key} <=> new.{key}" for key in keys)

        def merge(batch: DataFrame, _: int) -> None:
            if not DeltaTable.isDeltaTable(batch.sparkSession, path):
                batch.write.format("delta").save(path)
                return
            old = DeltaTable.forPath(batch.sparkSession, path).alias("old")
            old.merge(batch.alias("new"), same).whenMatchedUpdateAll().whenNotMatchedInsertAll().execute()

        return merge

    def _path(self, layer: str, name: str) -> str:
        return str(self._lake / layer / name)


def session(home: Path) -> SparkSession:
    jars = ",".join(map(str, resolved(SPARK_JARS, print)))
    return (
        SparkSession.builder.appName("naive")
        .master("local[*]")
        .config("spark.jars", jars)
        .config("spark.driver.memory", "2g")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
        .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.warehouse.dir", str(home / "warehouse"))
        .getOrCreate()
    )


def main(lake: Path, bootstrap: str, work: str, mode: str) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    spark = session(lake.parent)
    medallion = Medallion(spark, lake, bootstrap, work, mode == "once")
    medallion.create()
    layers = (medallion.bronze, medallion.silver, medallion.gold)
    if mode == "once":
        for layer in layers:
            for query in layer():
                query.awaitTermination()
    else:
        queries = [query for layer in layers for query in layer()]
        print("running", flush=True)
        while not stop.wait(0.5):
            for query in queries:
                if query.exception():
                    raise query.exception()
        for query in queries:
            query.stop()
    spark.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:5])
