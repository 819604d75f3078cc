"""How a topic's bytes become its promised fields: one codec per kind of payload."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column
from pyspark.sql import functions as F

from promolake.columns import access_line, event_time, log_event, payload
from promolake.columns.once import once
from promolake.core.topic import Topic

PROBLEM = "_problem"  # the name of no field


def given(topic: Topic, text: Column, key: Column) -> Column:
    """What a message says, as one struct: the source texts by the fields' flat names (`event_id` of JSON only), of the event time both the
    timestamp (`event_time`) and the text it came from (`event_time_text`), and why the text cannot be read (PROBLEM).

    `text` is payload.text of the value, `key` the message key as text."""
    return {"json": _json, "access_line": _access_line, "log_event": _log_event}[topic.codec](topic, text, key)


def gives_id(topic: Topic) -> bool:
    """Whether the payload itself says which event it is."""
    return topic.codec == "json"


def _json(topic: Topic, text: Column, key: Column) -> Column:
    def read(json: Column) -> Column:
        found = {field.flat: json[field.path[0]] if len(field.path) == 1 else json[field.path[0]][field.path[1]] for field in topic.fields}
        when = {"event_time": event_time.parsed(found["event_time"]), "event_time_text": found["event_time"]}
        return _named(found | when, payload.json_problem(text, json))

    return once(payload.json_fields(text, topic), read)


def _access_line(topic: Topic, text: Column, key: Column) -> Column:
    return once(access_line.parts(text), lambda parts: _named(access_line.fields(parts), access_line.problem(parts)))


def _log_event(topic: Topic, text: Column, key: Column) -> Column:
    def with_outer(outer: Column) -> Column:
        return once(log_event.inner(outer), lambda inner: with_both(outer, inner))

    def with_both(outer: Column, inner: Column) -> Column:
        return once(log_event.head(text, outer, inner), lambda head: _named(log_event.fields(outer, inner, head, key), F.lit(None)))

    return once(log_event.outer(text), with_outer)


def _named(texts: Mapping[str, Column], problem: Column) -> Column:
    return F.struct(*(column.alias(name) for name, column in texts.items()), problem.cast("string").alias(PROBLEM))
