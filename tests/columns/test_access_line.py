"""One line of an access log, taken apart."""

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from frames import evaluated
from promolake.columns import access_line

AT = "[17/May/2015:10:05:03 +0000]"
INSTANT = datetime(2015, 5, 17, 10, 5, 3, tzinfo=UTC)
ABSENT = {"method": None, "path": None, "referrer": None, "agent": None}
COMMON = {
    "ip": "1.2.3.4",
    "event_time": INSTANT,
    "method": "GET",
    "path": "/",
    "status": "200",
    "bytes": "5",
    "referrer": None,
    "agent": None,
}

LINES = {
    "combined": (
        f'1.2.3.4 - - {AT} "GET /shoes?size=42 HTTP/1.1" 200 5 "http://example.com/" "Mozilla/5.0 (X11; Linux)"',
        {"path": "/shoes?size=42", "referrer": "http://example.com/", "agent": "Mozilla/5.0 (X11; Linux)"},
    ),
    "common": (f'1.2.3.4 - - {AT} "GET / HTTP/1.0" 200 5', {}),
    "HTTP/0.9 names no version": (f'1.2.3.4 - - {AT} "GET /" 200 5', {}),
    "IPv6": (f'2001:db8::1 - - {AT} "GET / HTTP/1.1" 200 5', {"ip": "2001:db8::1"}),
    "a resolved host and a user": (f'crawler.example.com - bob smith {AT} "GET / HTTP/1.1" 200 5', {"ip": "crawler.example.com"}),
    "its own offset": (
        '1.2.3.4 - - [17/May/2015:10:05:03 +0800] "GET / HTTP/1.1" 200 5', {"event_time": datetime(2015, 5, 17, 2, 5, 3, tzinfo=UTC)},
    ),
    "escaped quotes": (
        rf'1.2.3.4 - - {AT} "GET /a\"b HTTP/1.1" 200 5 "say \"hi\"" "a\\"', {"path": r"/a\"b", "referrer": r"say \"hi\"", "agent": r"a\\"},
    ),
    "no bytes": (f'1.2.3.4 - - {AT} "GET / HTTP/1.1" 304 - "-" "-"', {"status": "304", "bytes": "0"}),
    "an unreadable request": (rf'1.2.3.4 - - {AT} "\x16\x03" 400 5 "-" "-"', {"method": None, "path": r"\x16\x03", "status": "400"}),
    "a request with a blank in its path": (f'1.2.3.4 - - {AT} "GET /a b HTTP/1.1" 200 5', {"method": None, "path": "GET /a b HTTP/1.1"}),
    "no request": (f'1.2.3.4 - - {AT} "-" 408 - "-" "-"', ABSENT | {"status": "408", "bytes": "0"}),
    "an empty request": (f'1.2.3.4 - - {AT} "" 400 0 "-" "-"', ABSENT | {"status": "400", "bytes": "0"}),
    "more fields behind": (f'1.2.3.4 - - {AT} "GET / HTTP/2.0" 200 5 "-" "x" "10.0.0.1" rt=0.1', {"agent": "x"}),
    "a line end": (f'1.2.3.4 - - {AT} "GET / HTTP/1.1" 200 5\r\n', {}),
    "the separator inside": (f'1.2.3.4 - - {AT} "GET /a\x01b HTTP/1.1" 200 5', {"path": "/ab"}),
    "no such day": ('1.2.3.4 - - [31/Feb/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 5', {"event_time": None}),
}  # fmt: skip
MALFORMED = [
    "connection reset by peer",
    "",
    f'1.2.3.4 - - {AT} "GET / HTTP/1.1" OK 5',
    f'1.2.3.4 - - {AT} "GET / HTTP/1.1',
    '1.2.3.4 - - "GET / HTTP/1.1" 200 5',
]


@pytest.fixture(scope="module")
def found(spark: SparkSession) -> dict[str, dict[str, Any]]:
    def fields(line):
        return F.struct(*(column.alias(name) for name, column in access_line.fields(access_line.parts(line)).items()))

    return dict(zip(LINES, evaluated(spark, [line for line, _ in LINES.values()], fields), strict=True))


@pytest.mark.parametrize("case", LINES)
def test_a_line_is_taken_apart(found: dict[str, dict[str, Any]], case: str) -> None:
    line, different = LINES[case]
    inside = line.split("[")[1].split("]")[0]
    assert found[case] == COMMON | {"event_time_text": inside} | different


def test_another_shape_is_malformed_and_every_good_line_is_not(spark: SparkSession) -> None:
    given = [*MALFORMED, *(line for line, _ in LINES.values())]
    expected = ["malformed_line"] * len(MALFORMED) + [None] * len(LINES)
    assert evaluated(spark, given, lambda line: access_line.problem(access_line.parts(line))) == expected


def test_a_page_view_is_a_get_answered_200_for_no_asset(spark: SparkSession) -> None:
    expected = {
        "GET / 200": True,
        "GET /shoes?img=a.png 200": True,
        "GET /a.html 200": True,
        "GET /a.png 200": False,
        "GET /a.PNG?v=1 200": False,
        "GET /app.js 200": False,
        "GET / 304": False,
        "POST / 200": False,
    }

    def is_page_view(given):
        words = F.split(given, " ")
        return access_line.is_page_view(words[0], words[1], words[2].cast("int"))

    assert dict(zip(expected, evaluated(spark, list(expected), is_page_view), strict=True)) == expected


@pytest.mark.parametrize(
    "hostile",
    [f'1.2.3.4 - - {AT} "' + r"a\"" * 20_000, f'1.2.3.4 - - {AT} "GET / HTTP/1.1" 200 5 "' + "\\\\" * 30_000, "1 - " + "- " * 30_000 + "[",
     "1 - - [x] " + '"' * 60_000, "a" * 60_000 + " b", f'1 - - {AT} "GET / HTTP/1.1" 200 5' + ' "-"' * 15_000],
    ids=["escapes in the request", "escapes in the referrer", "blanks", "quotes", "one long word", "many fields"],
)  # fmt: skip
def test_a_hostile_line_of_60_kb_is_read_in_no_time(spark: SparkSession, hostile: str) -> None:
    started = time.monotonic()
    assert len(evaluated(spark, [hostile] * 20, access_line.parts)) == 20
    assert time.monotonic() - started < 20  # backtracking would take minutes
