"""shop.searches: one message per search a buyer makes."""

from promolake.core.topic import Field, Topic

TOPIC = Topic(
    name="shop.searches",
    description="Buyers' searches.",
    codec="json",
    key="user_id",
    fields=(
        Field("event_id", "id", "Unique per message.", required=True),
        Field("event_time", "time", "When the search was made.", required=True),
        Field("user_id", "id", "Who searched; null when not known.", sensitive="user"),
        Field("session_id", "id", "The visit."),
        Field("query", "text", "What was typed; may be empty."),
        Field("result_count", "integer", "How many products were found.", minimum=0, maximum=1_000_000_000),
        Field("ip", "ip", "The client's address."),
        Field("device", "id", "ios, android, web ..."),
    ),
    examples=(
        '{"event_id":"s-1","event_time":1794326400123,"user_id":"u7","session_id":"v1","query":"running shoes",'
        '"result_count":120,"ip":"203.0.113.9","device":"ios"}',
    ),
)
