"""Whether the broker still has what a query is to read next. Spark would say so in pages, after three tries."""

from __future__ import annotations

from promolake.core.errors import DamageFound
from promolake.engine import kafka
from promolake.engine.query_log import QueryLog


def refuse_lost_records(log: QueryLog, bootstrap: str) -> None:
    """Raises DamageFound for a topic that was begun anew or cut short since the query's last batch, BrokerAway."""
    planned = log.offsets.get(log.last)
    due = {(topic, int(p)): offset for topic, ends in ((planned and planned.ends) or {}).items() for p, offset in ends.items()}
    if not due:
        return
    topics = {topic for topic, _ in due}
    ends, firsts = kafka.end_offsets(bootstrap, topics), kafka.first_offsets(bootstrap, topics)
    for (topic, partition), offset in sorted(due.items()):
        where = f"in partition {partition}"
        if (end := ends.get((topic, partition), 0)) < offset:
            raise DamageFound(
                f"{topic} ends at offset {end} {where}, and {offset} were read: it was deleted and begun anew, or records were lost.",
                "Bring the old topic back, or begin in a new --home: in this one an offset would stand for two records.",
            )
        if (first := firsts.get((topic, partition), 0)) > offset:
            raise DamageFound(
                f"{topic} begins at offset {first} {where}, and {offset} is next: {first - offset} records were removed unread.",
                "Have the broker keep them longer. What is there can be read in a new --home.",
            )
