"""How a topic's bytes become its promised fields: one codec per kind of payload.

Decoding runs in stages so that an expensive step (a JSON parse, a regular expression) is a column computed once and then referred to;
written as one nested expression, Spark would compute it again for every field.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pyspark.sql import Column
from pyspark.sql import functions as F

from promolake.columns import access_line, event_time, log_event, payload
from promolake.core.topic import Topic

Stage = Callable[[Column, Column | None], Column]
"""From the text and the previous stage's column to this stage's column."""


@dataclass(frozen=True)
class Decoder:
    """`stages` build the decoded column; `fields` and `problem` read it. `fields` gives source texts by field name, and of the event
    time both the timestamp (`event_time`) and the text it came from (`event_time_text`)."""

    stages: tuple[Stage, ...]
    fields: Callable[[Column, Column], dict[str, Column]]  # (decoded, key as text)
    problem: Callable[[Column, Column], Column]  # (text, decoded)


def decoder(topic: Topic) -> Decoder:
    return {"json": _json, "access_line": _access_line, "log_event": _log_event}[topic.codec](topic)


def _json(topic: Topic) -> Decoder:
    def fields(decoded: Column, key: Column) -> dict[str, Column]:
        found = {field.name: decoded[field.path[0]] for field in topic.fields if len(field.path) == 1}
        found |= {field.name: decoded[field.path[0]][field.path[1]] for field in topic.fields if len(field.path) == 2}
        return found | {"event_time": event_time.parsed(found["event_time"]), "event_time_text": found["event_time"]}

    return Decoder((lambda text, _: payload.json_fields(text, topic),), fields, payload.json_problem)


def _access_line(topic: Topic) -> Decoder:
    return Decoder(
        (lambda text, _: access_line.parts(text),),
        lambda decoded, key: access_line.fields(decoded),
        lambda text, decoded: access_line.problem(decoded),
    )


def _log_event(topic: Topic) -> Decoder:
    def with_inner(text: Column, decoded: Column | None) -> Column:
        return F.struct(decoded["outer"].alias("outer"), log_event.inner(decoded["outer"]).alias("inner"))

    def with_head(text: Column, decoded: Column | None) -> Column:
        outer, inner = decoded["outer"], decoded["inner"]
        return F.struct(outer.alias("outer"), inner.alias("inner"), log_event.head(text, outer, inner).alias("head"))

    return Decoder(
        (lambda text, _: F.struct(log_event.outer(text).alias("outer")), with_inner, with_head),
        lambda decoded, key: log_event.fields(decoded["outer"], decoded["inner"], decoded["head"], key),
        lambda text, decoded: F.lit(None).cast("string"),
    )
