"""Whatever bytes a topic receives, the query goes on and every record ends in exactly one place."""

import json
import re
from typing import Any

import pytest
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from drawn import drawn
from frames import INGESTS, Record, parsed_rows, records_frame
from promolake.core.topic import Topic
from promolake.hallway import HALLWAY
from promolake.silver.entity import parsed, quarantine_rows, silver_rows
from promolake.sources import TOPICS

PER_TOPIC = 150
REASON = re.compile(r"[a-z0-9_]+(:[a-z_]+)?")
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.text("\0\ud800\u2028{}[]\"'\\:,+-.eE0123456789TZ ", max_size=20).map(lambda text: text.encode("utf-8", "replace").decode()),
    st.sampled_from(
        ["NaN", "-Infinity", "1e400", "9" * 400, "2026-11-11T00:00:00Z", "0000-00-00T00:00:00Z", "PAID", "[", "\\ud800", 10**400, -0.0]
    ),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=3),
)
PIECES = st.sampled_from(
    [b"", b"\0", b"\xff", b'"', b"{", b"}", b"[", b"]", b",", b"\\", b"NaN", b"9" * 50, b" " * 50, b"\xef\xbb\xbf", b"1e999"]
)


@st.composite
def damaged(draw: st.DrawFn, topic: Topic) -> bytes:
    """An example with a stretch of its bytes replaced."""
    value = draw(st.sampled_from(topic.examples)).encode()
    start, end = sorted((draw(st.integers(0, len(value))), draw(st.integers(0, len(value)))))
    return value[:start] + draw(PIECES) + value[end if draw(st.booleans()) else start :]


@st.composite
def nonsense(draw: st.DrawFn, topic: Topic) -> bytes:
    """A JSON object with the promised names and other values under some of them."""
    payload: dict[str, Any] = json.loads(topic.examples[-1]) if topic.codec == "json" else {}
    for field in draw(st.lists(st.sampled_from(topic.fields), max_size=4)):
        payload[field.path[0]] = draw(st.one_of(JUNK, st.fixed_dictionaries({field.path[-1]: JUNK})))
    return json.dumps(payload, ensure_ascii=draw(st.booleans())).encode()


def messages(topic: Topic) -> st.SearchStrategy[Record]:
    value = st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode), damaged(topic), nonsense(topic), st.none())
    key = st.none() | st.binary(max_size=10)
    header = st.tuples(st.sampled_from(["event_id", "trace"]), st.binary(max_size=10))
    return st.tuples(st.just(topic.name), value, key, st.lists(header, max_size=2).map(tuple)).map(lambda parts: Record(*parts))


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return [record for topic in TOPICS for record in drawn(messages(topic), PER_TOPIC)]


@pytest.fixture(scope="module")
def rows(spark: SparkSession, records: list[Record]) -> list[dict[str, Any]]:
    return parsed_rows(spark, records)


def test_every_record_is_either_valid_or_quarantined_with_reasons(rows: list[dict[str, Any]], records: list[Record]) -> None:
    assert len(rows) == len(records)
    for row in rows:
        assert row["violations"] is not None, row
        assert (row["silver"] is None) == bool(row["violations"]), row
        assert all(REASON.fullmatch(reason) for reason in row["violations"]), row["violations"]


def test_both_fates_occur_in_every_topic(rows: list[dict[str, Any]]) -> None:
    assert {(row["topic"], bool(row["violations"])) for row in rows} == {(topic.name, fate) for topic in TOPICS for fate in (True, False)}


def test_a_valid_row_has_every_field_its_contract_requires(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if silver := row["silver"]:
            required = [field.flat for field in INGESTS[row["topic"]].topic.fields if field.required]
            assert [name for name in required if silver[name] in (None, "")] == [], row
            assert "line_amount" not in silver or silver["line_amount"] is not None, row


def test_the_tables_split_the_records_between_them(spark: SparkSession, records: list[Record], rows: list[dict[str, Any]]) -> None:
    few = records[::10]
    valid, broken = [], []
    for flow in HALLWAY.ingests:
        ours = records_frame(spark, few).where(F.col("topic") == flow.topic.name)
        pass_ = parsed(ours, flow).localCheckpoint()
        valid += [row["offset"] for row in silver_rows(pass_, flow).select("offset").toArrow().to_pylist()]
        broken += [row["offset"] for row in quarantine_rows(pass_, flow).select("offset").toArrow().to_pylist()]
    assert sorted(valid + broken) == list(range(len(few)))
