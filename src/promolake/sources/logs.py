"""app.logs: one raw log event per message, stack trace included."""

from promolake.core.topic import Field, Topic

TOPIC = Topic(
    name="app.logs",
    description="Application log events: log4j and logback lines, JSON lines, and JSON as container runtimes wrap it. Keyed by service. "
    "A header `event_id` names the event; without one its position in Kafka does.",
    codec="log_event",
    key="service",
    fields=(
        Field("event_id", "id", "From the header of that name, or topic-partition-offset.", required=True),
        Field("event_time", "time", "Of the event; UTC where the line names no offset.", required=True),
        Field("level", "id", "TRACE, DEBUG, INFO, WARN, ERROR, FATAL, or UNKNOWN where the event names none.", required=True),
        Field("service", "id", "From the event, else the message key."),
        Field("logger", "text", "The logger's name."),
        Field("message", "text", "The rest, with the stack trace."),
    ),
    examples=(
        "[2016-12-19 16:31:46,143] ERROR Error when sending message (kafka.server.KafkaApis)\n"
        "java.io.IOException: broken\n\tat kafka.X.y(X.scala:1)",
        "2026-11-11 00:00:00.120 [http-1] ERROR com.shop.Payment - card refused",
        '{"timestamp":"2026-11-11T00:00:00Z","level":"error","service":"payment","logger":"c.s.P","message":"refused"}',
        '{"log":"18:19:19.694 WARN  i.s.PaymentServiceImpl#71 not allowed\\n","stream":"stdout","time":"2023-01-29T10:19:19.694635249Z"}',
    ),
)
