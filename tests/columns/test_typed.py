"""From the text of a field to its typed value, or the reason it breaks the contract."""

from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from frames import evaluated
from promolake.columns import typed
from promolake.core.topic import Field

# kind: text -> (value, problem); the value does not matter where there is a problem
ID = Field("id", "id", "")
TEXT = Field("text", "text", "")
COUNT = Field("count", "integer", "", minimum=-5, maximum=1_000)
PRICE = Field("to.price", "decimal", "")
LOAD = Field("load", "percent", "", minimum=0, maximum=100)
IP = Field("ip", "ip", "")
STATUS = Field("status", "code", "", one_of=("PAID", "PLACED"))
CASES: dict[Field, dict[str | None, tuple[Any, str | None]]] = {
    ID: {
        "a-1": ("a-1", None), "a\0b": ("ab", None), "x" * 256: ("x" * 256, None), "x" * 257: (None, "wrong_type:id"),
        '{"a":1}': (None, "wrong_type:id"), ' ["a"]': (None, "wrong_type:id"), None: (None, None), "": ("", None),
    },
    TEXT: {"a\0b": ("ab", None), "a\r\n\u2028\x1b[31m": ("a\r\n\u2028\x1b[31m", None), "{": ("{", None), None: (None, None)},
    COUNT: {
        "7": (7, None), " 7 ": (7, None), "-5": (-5, None), "1000": (1_000, None), "1001": (1_001, "out_of_range:count"),
        "-6": (-6, "out_of_range:count"), "9" * 30: (None, "wrong_type:count"), "1.7": (None, "wrong_type:count"),
        "true": (None, "wrong_type:count"), "": (None, "wrong_type:count"), None: (None, None),
    },
    PRICE: {
        "19.9": (Decimal("19.9"), None), "1.1000": (Decimal("1.1"), None), "1.2E1": (Decimal(12), None), "0": (Decimal(0), None),
        "-5": (Decimal(-5), None), "999999999.9999": (Decimal("999999999.9999"), None), "1000000000": (Decimal(10**9), "amount_range"),
        "99999999999999.99": (Decimal("99999999999999.99"), "amount_range"),
        "1e400": (None, "amount_range"), "9" * 60: (None, "amount_range"),
        "1.23456": (Decimal("1.23456"), "amount_scale"), "0.00001": (Decimal("0.00001"), "amount_scale"),
        "NaN": (None, "not_finite"), '"Infinity"': (None, "not_finite"), "-inf": (None, "not_finite"),
        "1,5": (None, "wrong_type:to_price"), "free": (None, "wrong_type:to_price"),
        "0x10": (None, "wrong_type:to_price"), None: (None, None),
    },
    LOAD: {
        "37.5": (37.5, None), "0": (0.0, None), "1.0E2": (100.0, None), "-0.1": (-0.1, "out_of_range:load"),
        "100.1": (100.1, "out_of_range:load"),
        "1e400": (float("inf"), "out_of_range:load"), "NaN": (None, "not_finite"), '"-Infinity"': (None, "not_finite"),
        "5f": (None, "wrong_type:load"), "": (None, "wrong_type:load"), "high": (None, "wrong_type:load"), None: (None, None),
    },
    IP: {
        "203.0.113.9": ("203.0.113.9", None), "2001:DB8::1": ("2001:db8::1", None), "::ffff:1.2.3.4": ("1.2.3.4", None),
        "Web-1.example.com": ("web-1.example.com", None), "not an ip!": (None, None),
        "": (None, None), "a" * 256: (None, None), None: (None, None),
    },
    STATUS: {" paid ": ("PAID", None), "SHIPPED": ("SHIPPED", "unknown_status"), None: (None, None)},
}  # fmt: skip


@pytest.mark.parametrize("field", CASES, ids=lambda field: field.kind)
def test_a_text_becomes_the_value_of_its_kind_or_a_reason(spark: SparkSession, field: Field) -> None:
    def value_and_problem(given):
        value = typed.value(field, given)
        problem = typed.problem(field, given, value)
        return F.struct(value.alias("value"), (F.lit(None) if problem is None else problem).alias("problem"))

    found = evaluated(spark, list(CASES[field]), value_and_problem)
    assert {given: (row["value"], row["problem"]) for given, row in zip(CASES[field], found, strict=True)} == CASES[field]


@pytest.mark.parametrize("field", CASES, ids=lambda field: field.kind)
def test_a_required_field_that_is_absent_or_blank_is_missing(spark: SparkSession, field: Field) -> None:
    required = Field(field.name, field.kind, "", required=True, one_of=field.one_of, minimum=field.minimum, maximum=field.maximum)
    problems = evaluated(spark, [None, "", " \t", "\0"], lambda given: typed.problem(required, given, typed.value(required, given)))
    assert problems == [f"missing:{field.flat}"] * 4


def test_a_required_address_that_cannot_be_one_is_a_reason(spark: SparkSession) -> None:
    required = Field("ip", "ip", "", required=True)
    assert evaluated(spark, ["<script>"], lambda given: typed.problem(required, given, typed.value(required, given))) == ["wrong_type:ip"]
