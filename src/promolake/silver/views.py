"""silver.views: every product view, valid, once."""

from __future__ import annotations

from pyspark.sql import Column as SparkColumn

from promolake.columns import masking as m
from promolake.core.rule import Row
from promolake.core.table import Column
from promolake.silver.entity import ingest
from promolake.sources.views import TOPIC


def projection(view: Row) -> dict[str, SparkColumn]:
    kept = ("session_id", "product_id", "category", "search_id", "ip", "device")
    return {name: view(name) for name in kept} | {
        "user_hash": m.pseudonym(view("user_id")),
        "referrer": m.text_masked(view("referrer")),
    }


FLOW = ingest(
    TOPIC,
    "views",
    "Product pages opened.",
    (
        Column("user_hash", "string", "Pseudonym of who looked; NULL when not known."),
        Column("session_id", "string", "The visit."),
        Column("product_id", "string", "The product."),
        Column("category", "string", "The product's category."),
        Column("referrer", "string", "Where the visitor came from."),
        Column("search_id", "string", "event_id of the search that led here."),
        Column("ip", "string", "The client's address."),
        Column("device", "string", "The device."),
    ),
    projection,
    rules=(),
)
