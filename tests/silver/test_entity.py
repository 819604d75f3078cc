"""The parse pass on hostile messages: the table of reliability.md, section 3.6, as far as it concerns a single message.

Not here: 25-28 and 37-42 concern several messages or the engine (repetitions, conflicts, lateness, skew, transactions, alerts), and the
second half of 32 the places that show text.
"""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import SparkSession

from frames import Record, parsed_rows, record
from promolake.core.topic import Topic
from promolake.sources import access, logs, metrics, orders, views

ORDER = json.loads(orders.TOPIC.examples[0])
VIEW = json.loads(views.TOPIC.examples[0])
SAMPLE = json.loads(metrics.TOPIC.examples[0])
LINE = access.TOPIC.examples[0]
MIDNIGHT = datetime(2026, 11, 11, tzinfo=UTC)
TEXT = json.dumps(ORDER)


def order(**changes: Any) -> Record:
    return record(orders.TOPIC, {**ORDER, **changes})


def sample(**changes: Any) -> Record:
    return record(metrics.TOPIC, {**SAMPLE, **changes})


def order_text(text: str | bytes) -> Record:
    return record(orders.TOPIC, text)


def literal(topic: Topic, given: dict[str, Any], field: str, token: str) -> Record:
    """The message with a JSON token in the place of a field that Python's json would not write."""
    return record(topic, json.dumps({**given, field: "@@"}).replace('"@@"', token))


def price(token: str) -> Record:
    return literal(orders.TOPIC, ORDER, "unit_price", token)


def load(token: str) -> Record:
    return literal(metrics.TOPIC, SAMPLE, "cpu", token)


# number and words -> the record, and either the violations or some of the silver values of a valid row
CASES: dict[str, tuple[Record, list[str] | dict[str, Any]]] = {
    "1 cut off": (order_text('{"event_id":"a",'), ["malformed_json"]),
    "2 empty": (order_text(b""), ["empty"]),
    "2 empty access line": (record(access.TOPIC, b""), ["empty"]),
    "2 empty log event": (record(logs.TOPIC, b""), ["empty"]),
    "3 tombstone": (record(orders.TOPIC, None), ["tombstone"]),
    "4 null": (order_text("null"), ["not_an_object"]),
    "4 a number": (order_text("42"), ["not_an_object"]),
    "4 an array of two": (order_text(f"[{TEXT},{TEXT}]"), ["not_an_object"]),
    "5 garbage behind": (order_text(f"{TEXT} garbage"), ["trailing_data"]),
    "5 a second object behind": (order_text('{"event_id":"a"}{"event_id":"b"}'), ["trailing_data"]),
    "5 a second object behind brackets": (order_text(f"{TEXT}][{TEXT}"), ["trailing_data"]),
    "5 a line end behind is no garbage": (order_text(f"\r\n{TEXT}\n"), {"event_id": "o-1"}),
    "6 a key twice": (order_text(TEXT[:-1] + ',"event_id":"b"}'), ["duplicate_key"]),
    "6 a nested key twice": (order_text(TEXT.replace('"name":', '"name":"x","name":')), ["duplicate_key"]),
    "7 a byte order mark": (order_text(b"\xef\xbb\xbf" + TEXT.encode()), {"event_id": "o-1", "line_amount": Decimal("39.8")}),
    "8 single quotes": (order_text(TEXT.replace('"', "'")), ["malformed_json"]),
    "9 2,000 deep": (order_text(TEXT[:-1] + ',"x":' + "[" * 2_000 + "]" * 2_000 + "}"), ["too_deep"]),
    "10 21 MB": (order(category="x" * 21_000_000), ["oversize"]),
    "10 a byte over 64 KiB": (order(category="x" * (65_536 + 6 - len(json.dumps(ORDER, ensure_ascii=False)))), ["oversize"]),
    "10 64 KiB": (order(category="x" * (65_536 + 5 - len(json.dumps(ORDER, ensure_ascii=False)))), {"event_id": "o-1"}),
    "11 a quantity in words": (order(quantity="x"), ["wrong_type:quantity"]),
    "11 a quantity of 1.7": (order(quantity=1.7), ["wrong_type:quantity"]),
    "11 a quantity of 99999999999": (order(quantity=99_999_999_999), ["out_of_range:quantity"]),
    "11 a receiver that is a text": (order(receiver="Li Lei"), ["wrong_type:payload"]),
    "12 an id as a number": (literal(orders.TOPIC, ORDER, "event_id", "12345678901234567890"), {"event_id": "12345678901234567890"}),
    "12 an id as an object": (order(event_id={"a": 1}), ["wrong_type:event_id"]),
    "12 an id as an array": (order(event_id=["a"]), ["wrong_type:event_id"]),
    "12 a blank id": (order(event_id="  "), ["missing:event_id"]),
    "12 an endless id": (order(event_id="x" * 300), ["wrong_type:event_id"]),
    "13 a price of NaN": (price("NaN"), ["not_finite"]),
    '13 a price of "NaN"': (price('"NaN"'), ["not_finite"]),
    '13 a price of "Infinity"': (price('"Infinity"'), ["not_finite"]),
    "13 a price of -Infinity": (price("-Infinity"), ["not_finite"]),
    "13 a load of NaN": (load("NaN"), ["not_finite"]),
    '13 a load of "NaN"': (load('"NaN"'), ["not_finite"]),
    '13 a load of "Infinity"': (load('"Infinity"'), ["not_finite"]),
    "13 a load of -Infinity": (load("-Infinity"), ["not_finite"]),
    "14 a price of 1e400": (price("1e400"), ["not_finite"]),
    "14 a load of 1e400": (load("1e400"), ["not_finite"]),
    "15 an amount of 14 digits": (price("99999999999999.99"), ["amount_range"]),
    "15 the largest amount": (order(unit_price="999999999.9999", quantity=1), {"line_amount": Decimal("999999999.9999")}),
    "16 an amount with five places": (price("1.23456"), ["amount_scale"]),
    "16 trailing zeros are no places": (price("1.23400000"), {"unit_price": Decimal("1.234")}),
    "17 a price of -5": (order(unit_price="-5"), ["price_not_negative"]),
    "17 a refund at a price of -5": (order(status="REFUNDED", unit_price="-5"), ["price_not_negative"]),
    "17 a refund of -2 units": (order(status="REFUNDED", quantity=-2), {"line_amount": Decimal("-39.8"), "status": "REFUNDED"}),
    "17 a sale of -2 units": (order(quantity=-2), ["paid_quantity_positive"]),
    "18 a gift": (order(unit_price=0), {"unit_price": Decimal(0), "line_amount": Decimal(0)}),
    "18 a sale of nothing": (order(quantity=0), ["paid_quantity_positive"]),
    "18 a billion units": (order(quantity=10**9), {"quantity": 10**9, "line_amount": Decimal("19900000000")}),
    "18 a billion units at the largest price": (
        order(quantity=10**9, unit_price="999999999.9999"), {"line_amount": Decimal("999999999999900000")},
    ),
    "19 the year 2099": (order(event_time="2099-01-01T00:00:00Z"), ["ts_future"]),
    "19 the year 9999": (order(event_time="9999-12-31T00:00:00Z"), ["ts_future"]),
    "19 the year 292278": (order(event_time="292278-01-01T00:00:00Z"), ["ts_format"]),
    "19 the last microsecond there is": (order(event_time=9_223_372_036_854_775), ["ts_future"]),
    "19 past the last microsecond there is": (order(event_time=9_223_372_036_854_775_807), ["ts_format"]),
    "20 epoch milliseconds": (order(event_time=1_767_225_600_000), {"event_time": datetime(2026, 1, 1, tzinfo=UTC)}),
    "20 epoch seconds": (order(event_time=1_767_225_600), {"event_time": datetime(2026, 1, 1, tzinfo=UTC)}),
    "20 epoch seconds with a fraction": (
        order(event_time=1_767_225_600.5), {"event_time": datetime(2026, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)},
    ),
    "21 the year 1970": (order(event_time="1970-01-01T00:00:00Z"), ["ts_ancient"]),
    "21 an epoch of 0": (order(event_time=0), ["ts_ancient"]),
    "22 yesterday": (order(event_time="yesterday"), ["ts_format"]),
    "22 a time that is an object": (order(event_time={"$date": 1}), ["ts_format"]),
    "23 a time without an offset": (order(event_time="2026-11-11T00:00:00"), ["ts_format"]),
    "23 a time with one": (order(event_time="2026-11-11T08:00:00+08:00"), {"event_time": MIDNIGHT}),
    "24 no time": (order(event_time=None), ["ts_null"]),
    "29 NUL in a text": (order(category="sh\0oes", product_id="p\x004"), {"category": "shoes", "product_id": "p4"}),
    "29 an id of NUL alone": (order(event_id="\0"), ["missing:event_id"]),
    "30 half of a pair of surrogates": (literal(orders.TOPIC, ORDER, "category", r'"\ud800"'), ["lone_surrogate"]),
    "30 a whole pair": (literal(orders.TOPIC, ORDER, "category", r'"\ud83d\ude00"'), {"category": "😀"}),
    "31 line ends and ANSI escapes": (order(category="a\r\nb\u2028\x1b[31m"), {"category": "a\r\nb\u2028\x1b[31m"}),
    "32 markup and SQL": (order(category="<script>'; DROP TABLE x;--"), {"category": "<script>'; DROP TABLE x;--"}),
    "32 a formula": (order(channel="=cmd()"), {"channel": "=cmd()"}),
    "33 bytes that are no UTF-8": (order_text(TEXT.encode() + b"\xff\xfe"), ["bad_utf8"]),
    "33 an access line that is no UTF-8": (record(access.TOPIC, LINE.encode() + b"\xff"), ["bad_utf8"]),
    "33 a log event that is no UTF-8": (record(logs.TOPIC, b"\xff"), ["bad_utf8"]),
    "34 ids are kept as they are, composed": (order(product_id="caf\u00e9"), {"product_id": "caf\u00e9"}),
    "34 ids are kept as they are, decomposed": (order(product_id="cafe\u0301"), {"product_id": "cafe\u0301"}),
    "35 an unknown status": (order(status="SHIPPED"), ["unknown_status"]),
    "35 a field of no contract": (order(gift_wrap={"colour": "red"}), {"event_id": "o-1"}),
    "36 1,000 headers": (
        record(access.TOPIC, LINE, headers=(*((f"h{n}", b"x" * 100) for n in range(1_000)), ("event_id", b"line-7"))),
        {"event_id": "line-7"},
    ),
    "41 poison in one topic": (record(views.TOPIC, {**VIEW, "product_id": None}), ["missing:product_id"]),
    "41 leaves the other as it is": (order(), {"event_id": "o-1"}),
    "every rule a row breaks is named": (
        order(event_time=None, product_id="", quantity="x", unit_price="-1", currency="rmb"),
        ["ts_null", "missing:product_id", "wrong_type:quantity", "price_not_negative", "currency_code"],
    ),
    "a currency that is no code": (order(currency="rmb"), ["currency_code"]),
    "a load below 0": (sample(cpu=-5), ["out_of_range:cpu"]),
    "a sample of nothing": (sample(cpu=None, mem=None), ["has_a_figure"]),
    "a machine that calls itself all of them": (sample(host="*"), ["host_is_one"]),
    "an order's address that cannot be one": (order(ip="not an ip!"), {"ip": None}),
    "a line of another shape": (record(access.TOPIC, "connection reset by peer"), ["malformed_line"]),
    "a line's status beyond 599": (record(access.TOPIC, LINE.replace(" 200 ", " 999 ")), ["out_of_range:status"]),
    "a line is named by its header": (record(access.TOPIC, LINE, headers=(("event_id", b"a"),)), {"event_id": "a"}),
    "a log event is named by its header": (record(logs.TOPIC, logs.TOPIC.examples[0], headers=(("event_id", b"a"),)), {"event_id": "a"}),
}  # fmt: skip


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> dict[str, dict[str, Any]]:
    return dict(zip(CASES, parsed_rows(spark, [given for given, _ in CASES.values()]), strict=True))


@pytest.mark.parametrize("case", CASES)
def test_a_message_is_valid_or_quarantined_with_every_reason(rows: dict[str, dict[str, Any]], case: str) -> None:
    expected = CASES[case][1]
    row = rows[case]
    if isinstance(expected, list):
        assert row["violations"] == expected
        assert row["silver"] is None
    else:
        assert row["violations"] == []
        assert {name: row["silver"][name] for name in expected} == expected


def test_the_record_itself_passes_through_whole(rows: dict[str, dict[str, Any]]) -> None:
    for case, (given, _) in CASES.items():
        row = rows[case]
        assert (row["topic"], row["value"], row["key"], row["kafka_timestamp"]) == (
            given.topic,
            given.value,
            given.key,
            given.kafka_timestamp,
        )
        assert tuple((header["key"], header["value"]) for header in row["headers"]) == given.headers
