"""site.access: one raw line of a web server's access log per message."""

from promolake.core.topic import Field, Topic

TOPIC = Topic(
    name="site.access",
    description="Access-log lines, Apache or nginx, combined or common format. A header `event_id` names the line; "
    "without one its position in Kafka does.",
    codec="access_line",
    key="ip",
    fields=(
        Field("event_id", "id", "From the header of that name, or topic-partition-offset.", required=True),
        Field("event_time", "time", "Of the line, with its own offset from UTC.", required=True),
        Field("ip", "ip", "The client's address.", required=True),
        Field("method", "id", "GET, POST ...; null when the request line is unreadable."),
        Field("path", "text", "The path with its query."),
        Field("status", "integer", "HTTP status.", required=True, minimum=100, maximum=599),
        Field("bytes", "integer", "Bytes of the answer; `-` is 0.", required=True, minimum=0, maximum=1_000_000_000_000),
        Field("referrer", "text", "Only in the combined format."),
        Field("agent", "text", "Only in the combined format."),
    ),
    examples=(
        '83.149.9.216 - - [17/May/2015:10:05:03 +0000] "GET /shoes?size=42 HTTP/1.1" 200 203023 "http://example.com/" "Mozilla/5.0"',
        '83.149.9.216 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.0" 304 -',
    ),
)
