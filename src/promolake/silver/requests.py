"""silver.requests: every line of the access logs, parsed."""

from __future__ import annotations

from pyspark.sql import Column as SparkColumn
from pyspark.sql import functions as F

from promolake.columns import access_line
from promolake.columns import masking as m
from promolake.core.rule import Row
from promolake.core.table import Column
from promolake.silver.entity import ingest
from promolake.sources.access import TOPIC


def projection(request: Row) -> dict[str, SparkColumn]:
    kept = ("ip", "method", "status", "bytes")
    page_view = access_line.is_page_view(request("method"), request("path"), request("status"))
    return {name: request(name) for name in kept} | {
        "path": m.text_masked(request("path")),
        "referrer": m.text_masked(request("referrer")),
        "agent": m.text_masked(request("agent")),
        "is_page_view": F.coalesce(page_view, F.lit(False)),
    }


FLOW = ingest(
    TOPIC,
    "requests",
    "Requests to the web site, from its access logs. Equal lines are different requests: only an equal event_id repeats one.",
    (
        Column("ip", "string", "The client's address (or host, where the log resolves names)."),
        Column("method", "string", "GET, POST ...; NULL when the request line is unreadable."),
        Column("path", "string", "The path with its query, personal data masked."),
        Column("status", "int", "HTTP status."),
        Column("bytes", "bigint", "Bytes of the answer."),
        Column("referrer", "string", "The referring page, personal data masked."),
        Column("agent", "string", "The client's user agent."),
        Column("is_page_view", "boolean", "A GET answered 200 for a page rather than an image, style, script or font."),
    ),
    projection,
    rules=(),
)
