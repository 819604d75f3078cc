"""shop.views: one message per product page a buyer opens."""

from promolake.core.topic import Field, Topic

TOPIC = Topic(
    name="shop.views",
    description="Product views.",
    codec="json",
    key="user_id",
    fields=(
        Field("event_id", "id", "Unique per message.", required=True),
        Field("event_time", "time", "When the page was opened.", required=True),
        Field("user_id", "id", "Who looked; null when not known.", sensitive="user"),
        Field("session_id", "id", "The visit."),
        Field("product_id", "id", "The product.", required=True),
        Field("category", "text", "The product's category."),
        Field("referrer", "text", "Where the visitor came from."),
        Field("search_id", "id", "event_id of the search that led here, if one did."),
        Field("ip", "ip", "The client's address."),
        Field("device", "id", "ios, android, web ..."),
    ),
    examples=(
        '{"event_id":"v-1","event_time":"2026-11-11T00:00:01Z","user_id":"u7","session_id":"v1","product_id":"p42",'
        '"category":"shoes","referrer":"search","search_id":"s-1","ip":"203.0.113.9","device":"ios"}',
    ),
)
