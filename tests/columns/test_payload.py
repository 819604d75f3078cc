"""From the bytes of a message to its fields, with every way it can be broken named."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F

from frames import evaluated
from promolake.columns import payload
from promolake.core.topic import Field, Topic

TOPIC = Topic("a.topic", "", "json", "id", (Field("id", "id", ""), Field("amount", "decimal", ""), Field("to.name", "text", "")), ())
BYTES: dict[str, tuple[bytes | None, str | None, str | None]] = {  # case: value, its text, its problem
    "text": (b"{}", "{}", None),
    "text in UTF-8": ("李雷".encode(), "李雷", None),
    "a byte order mark": (b"\xef\xbb\xbf{}", "{}", None),
    "a byte order mark and nothing else": (b"\xef\xbb\xbf", "", None),
    "a tombstone": (None, None, "tombstone"),
    "nothing": (b"", None, "empty"),
    "64 KiB": (b"a" * 65_536, "a" * 65_536, None),
    "a byte more than 64 KiB": (b"a" * 65_537, None, "oversize"),
    "a byte that is no UTF-8": (b"a\xff", None, "bad_utf8"),
    "an overlong slash": (b"\xc0\xaf", None, "bad_utf8"),
    "a surrogate in UTF-8": (b"\xed\xa0\x80", None, "bad_utf8"),
    "another encoding": ("李".encode("utf-16"), None, "bad_utf8"),
}
GOOD = '{"id":"a"}'
TEXTS: dict[str, tuple[str, str | None]] = {  # case: text, its problem
    "an object": (GOOD, None),
    "an object among blanks": (f" \r\n\t{GOOD}\n", None),
    "an object with fields of no contract": ('{"id":"a","more":{"x":[1,{"y":null}]}}', None),
    "an empty object": ("{}", None),
    "an escaped pair of surrogates": (r'{"id":"\ud83d\ude00"}', None),
    "brackets inside a text": ('{"id":"[{[{"}', None),
    "an object cut off": ('{"id":"a",', "malformed_json"),
    "single quotes": ("{'id':'a'}", "malformed_json"),
    "a field without a value": ('{"id":}', "malformed_json"),
    "a bare word": ('{"id":a}', "malformed_json"),
    "blanks only": ("  ", "malformed_json"),
    "null": ("null", "not_an_object"),
    "a number": ("42", "not_an_object"),
    "a text": ('"{}"', "not_an_object"),
    "an array of objects": (f"[{GOOD},{GOOD}]", "not_an_object"),
    "garbage behind": (f"{GOOD} garbage", "trailing_data"),
    "a second object behind": (GOOD + GOOD, "trailing_data"),
    "a second object behind a comma": (f"{GOOD},{GOOD}", "trailing_data"),
    "a second object behind brackets": (f"{GOOD}][{GOOD}", "trailing_data"),
    "what ends an array behind": (f"{GOOD},0]", "trailing_data"),
    "what ends an array behind, and a second object": (f"{GOOD},0][{GOOD}", "trailing_data"),
    "a bracket behind": (GOOD + "}", "trailing_data"),
    "a key twice": ('{"id":"a","id":"b"}', "duplicate_key"),
    "a key twice, nested": ('{"to":{"name":"a","name":"b"}}', "duplicate_key"),
    "a key twice, outside the contract": ('{"x":{"y":1,"y":2}}', "duplicate_key"),
    "half of a pair of surrogates": (r'{"id":"\ud800"}', "lone_surrogate"),
    "the other half": (r'{"id":"\uDE00"}', "lone_surrogate"),
    "NaN": ('{"amount":NaN}', "not_finite"),
    "minus Infinity": ('{"amount": -Infinity}', "not_finite"),
    "2,000 arrays in each other": ('{"x":' + "[" * 2_000 + "]" * 2_000 + "}", "too_deep"),
    "2,000 objects in each other": ('{"x":' * 2_000 + "1" + "}" * 2_000, "too_deep"),
    "30,000 arrays in each other": ('{"x":' + "[" * 30_000, "too_deep"),
    "a text where an object is promised": ('{"to":"a"}', "wrong_type:payload"),
    "an array where an object is promised": ('{"to":[1]}', "wrong_type:payload"),
}


@pytest.fixture(scope="module")
def read(spark: SparkSession) -> dict[str, tuple[str | None, str | None]]:
    values = pa.table({"n": range(len(BYTES)), "value": pa.array([value for value, *_ in BYTES.values()], pa.binary())})
    value = F.col("value")
    rows = spark.createDataFrame(values).select("n", payload.text(value).alias("text"), payload.envelope_problem(value).alias("problem"))
    found = {row["n"]: (row["text"], row["problem"]) for row in rows.toArrow().to_pylist()}
    return {case: found[n] for n, case in enumerate(BYTES)}


@pytest.fixture(scope="module")
def problems(spark: SparkSession) -> dict[str, str | None]:
    given = [text for text, _ in TEXTS.values()]
    return dict(zip(TEXTS, evaluated(spark, given, lambda text: payload.json_problem(text, payload.json_fields(text, TOPIC))), strict=True))


@pytest.mark.parametrize("case", BYTES)
def test_bytes_are_text_or_have_a_problem(read: dict[str, tuple[str | None, str | None]], case: str) -> None:
    _, text, problem = BYTES[case]
    assert read[case] == (text, problem)


@pytest.mark.parametrize("case", TEXTS)
def test_a_text_is_one_json_object_of_the_contracts_shape_or_has_a_problem(problems: dict[str, str | None], case: str) -> None:
    assert problems[case] == TEXTS[case][1]


def fields_of(name: str) -> Callable[[Column], Column]:
    return lambda text: payload.json_fields(text, TOPIC)[name]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("id", {'{"id":"a\\u0000\\n"}': "a\0\n", '{"id":12345678901234567890}': "12345678901234567890",
                '{"id":true}': "true", '{"id":null}': None,
                "{}": None, '{"ID":"a"}': None, '{"id":{"a": 1}}': '{"a":1}'}),
        ("amount", {'{"amount":"1.10"}': "1.10", '{"amount":1.10}': "1.1", '{"amount":1.23456}': "1.23456",
                    '{"amount":999999999.9999}': "9.999999999999E8",
                    '{"amount":1e400}': '"Infinity"'}),
        ("to", {'{"to":{"name":"Li"}}': {"name": "Li"}, '{"to":null}': None, '{"to":{}}': {"name": None}}),
    ],
)  # fmt: skip
def test_fields_come_as_the_texts_they_are_written_in(spark: SparkSession, name: str, expected: dict[str, Any]) -> None:
    assert dict(zip(expected, evaluated(spark, list(expected), fields_of(name)), strict=True)) == expected
