"""What the operations page shows, for Prometheus. Labels are topics, tables, queries, rules and channels: all of them bounded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from promolake.serving.page.standing import Standing


def exposed(standing: Standing) -> bytes:
    """The text format. A figure that is not known has no sample: absent() tells it from 0."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(standing))
    return generate_latest(registry)


class _Figures(Collector):
    def __init__(self, standing: Standing) -> None:
        self._standing = standing

    def collect(self) -> Iterable[Metric]:
        yield from _process(self._standing)
        yield from _topics(self._standing)
        yield from _queries(self._standing)
        yield from _tables(self._standing)
        yield from _alerts(self._standing)
        yield from _audit(self._standing)


Samples = Iterable[tuple[tuple[str, ...], float | datetime | None]]


def _gauge(name: str, meaning: str, labels: tuple[str, ...], samples: Samples) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"promolake_{name}", meaning, labels=labels)
    for values, value in samples:
        if value is not None:
            family.add_metric(values, value.timestamp() if isinstance(value, datetime) else float(value))
    return family


def _process(standing: Standing) -> Iterator[Metric]:
    outside = standing.outside
    versions = {name.lower().replace(" ", "_"): version for name, version in outside.versions.items()}
    yield InfoMetricFamily("promolake_build", "Versions.", value=versions)
    yield _gauge("run_alive", "1 while a process writes the lake.", (), [((), bool(outside.running))])
    yield _gauge("kafka_answers", "1 when the Kafka broker answered.", (), [((), outside.ends is not None)])
    yield _gauge("disk_free_bytes", "Free on the disk of the home.", (), [((), outside.disk.free)])
    yield _gauge("disk_size_bytes", "Size of the disk of the home.", (), [((), outside.disk.size)])
    used = [((name,), n) for name, n in outside.disk.used.items()]
    yield _gauge("home_bytes", "Bytes in a directory of the home, measured once a minute.", ("directory",), used)


def _topics(standing: Standing) -> Iterator[Metric]:
    topics = standing.topics
    records = CounterMetricFamily(
        "promolake_records",
        "Records read, by what became of them when first judged: valid, quarantined or duplicate.",
        labels=("topic", "fate"),
    )
    late = CounterMetricFamily("promolake_late_records", "Valid records more than the allowed lateness behind.", labels=("topic",))
    for topic in topics:
        for fate, n in topic.first.items():
            records.add_metric((topic.name, fate), n)
        if topic.late is not None:
            late.add_metric((topic.name,), topic.late)
    forwarded = CounterMetricFamily(
        "promolake_forwarded_events",
        "Events that had to stand on a topic, by who sent them: the lane, or the micro_batch that audits it.",
        labels=("topic", "by"),
    )
    for row in standing.forwards:
        for sender in ("lane", "micro_batch"):
            forwarded.add_metric((row["topic"], sender), row[sender])
    yield records
    yield late
    yield forwarded
    quarantine = [((topic.name,), topic.quarantined) for topic in topics]
    yield _gauge("quarantine_records", "Records in quarantine now, less those let out again.", ("topic",), quarantine)
    lags = [((topic.name,), topic.lag) for topic in topics]
    yield _gauge("lag_records", "Records no finished batch has read; absent when not known.", ("topic",), lags)
    newest = [((topic.name,), topic.newest_event_time) for topic in topics]
    yield _gauge("newest_event_timestamp_seconds", "Newest event time.", ("topic",), newest)
    batches = [((topic.name,), topic.batch_at) for topic in topics]
    yield _gauge("topic_last_batch_timestamp_seconds", "When the newest batch with its records was cut.", ("topic",), batches)
    rules = [((one.topic, one.rule), one.rows) for one in standing.quarantined]
    yield _gauge("quarantined_last_day_records", "Records of the last 24 hours that broke a rule.", ("topic", "rule"), rules)


def _queries(standing: Standing) -> Iterator[Metric]:
    queries = standing.outside.queries
    batches = CounterMetricFamily("promolake_query_batches", "Finished micro-batches.", labels=("query",))
    for query in queries:
        batches.add_metric((query.name,), query.done + 1)
    yield batches
    took = [((query.name,), query.batch_seconds[-1] if query.batch_seconds else None) for query in queries]
    yield _gauge("query_last_batch_duration_seconds", "From planned to finished, of the newest finished batch.", ("query",), took)
    ended = [((query.name,), query.done_at) for query in queries]
    yield _gauge("query_last_batch_timestamp_seconds", "When the newest finished batch ended.", ("query",), ended)
    hand = [((q.name,), (standing.at - q.in_hand_since).total_seconds() if q.in_hand_since else 0) for q in queries]
    yield _gauge("query_in_hand_seconds", "How long a planned batch has not been finished; 0: none.", ("query",), hand)
    behind = [((query.name,), standing.behind(query)) for query in queries]
    yield _gauge("query_commits_behind", "Commits of its source tables yet to be read.", ("query",), behind)


def _tables(standing: Standing) -> Iterator[Metric]:
    tables, label = standing.tables, ("table",)
    yield _gauge("table_version", "Delta version.", label, [((t.name,), t.version) for t in tables])
    yield _gauge("table_files", "Files of the newest version.", label, [((t.name,), t.files) for t in tables])
    yield _gauge("table_bytes", "Bytes of the newest version.", label, [((t.name,), t.bytes) for t in tables])
    commits = [((table.name,), table.committed_at) for table in tables]
    yield _gauge("table_last_commit_timestamp_seconds", "When it was last committed to.", label, commits)
    stopped = standing.outside.stopped
    yield _gauge("table_stopped", "1 when the scan goes on without it.", label, [((t.name,), t.name in stopped) for t in tables])


def _alerts(standing: Standing) -> Iterator[Metric]:
    found = [((alert, status), n) for (alert, status), n in standing.states.items()]
    yield _gauge("alerts", "Alerts that fire or are pending, by rule.", ("alert", "status"), found)
    states = standing.outside.notifications
    sent = [((channel, state), n) for channel, by_state in states.items() for state, n in by_state.items()]
    yield _gauge("notifications", "Notifications by channel and state.", ("channel", "state"), sent)
    yield _gauge("silences", "Silences that hold or will hold.", (), [((), len(standing.outside.silences))])


def _audit(standing: Standing) -> Iterator[Metric]:
    audit = standing.audit
    yield _gauge("audit_timestamp_seconds", "When the newest audit began.", (), [((), audit.at if audit else None)])
    counts = audit.counts.items() if audit else ()
    found = [((severity, "kept" if kept else "broken"), n) for (severity, kept), n in counts]
    yield _gauge("audit_expectations", "Expectations of the newest audit.", ("severity", "result"), found)
