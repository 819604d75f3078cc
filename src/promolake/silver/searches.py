"""silver.searches: every search, valid, once, with personal data in the query masked."""

from __future__ import annotations

from pyspark.sql import Column as SparkColumn

from promolake.columns import masking as m
from promolake.core.rule import Row
from promolake.core.table import Column
from promolake.silver.entity import ingest
from promolake.sources.searches import TOPIC


def projection(search: Row) -> dict[str, SparkColumn]:
    kept = ("session_id", "result_count", "ip", "device")
    return {name: search(name) for name in kept} | {
        "user_hash": m.pseudonym(search("user_id")),
        "query": m.text_masked(search("query")),
    }


FLOW = ingest(
    TOPIC,
    "searches",
    "Buyers' searches.",
    (
        Column("user_hash", "string", "Pseudonym of who searched; NULL when not known."),
        Column("session_id", "string", "The visit."),
        Column("query", "string", "What was typed, e-mails, phones and card numbers masked."),
        Column("result_count", "bigint", "Products found."),
        Column("ip", "string", "The client's address."),
        Column("device", "string", "The device."),
    ),
    projection,
    rules=(),
)
