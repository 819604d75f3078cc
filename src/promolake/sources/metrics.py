"""machine.metrics: one message per host and sample."""

from promolake.core.topic import Field, Topic

TOPIC = Topic(
    name="machine.metrics",
    description="Samples of CPU, memory and I/O of a machine or pod, in percent (over 100 where one core is the unit).",
    codec="json",
    key="host",
    fields=(
        Field("event_id", "id", "Unique per message.", required=True),
        Field("event_time", "time", "When the sample was taken.", required=True),
        Field("host", "id", "The machine or pod.", required=True),
        Field("cpu", "percent", "CPU in use; null when not measured.", minimum=0, maximum=100_000),
        Field("mem", "percent", "Memory in use.", minimum=0, maximum=100_000),
        Field("io", "percent", "I/O in use.", minimum=0, maximum=100_000),
    ),
    examples=('{"event_id":"m-1","event_time":1794326400,"host":"web-1","cpu":37.5,"mem":61.2,"io":null}',),
)
