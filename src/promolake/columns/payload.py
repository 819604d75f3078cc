"""From the bytes of a message to text that is safe to parse, and from JSON text to its fields, with every way it can be broken named."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

from promolake.core.topic import Topic

MAX_BYTES = 64 * 1024
"""A value above this is quarantined unparsed: no contract needs it, and one huge row must not slow a batch."""

MAX_DEPTH = 1000
"""The nesting depth at which Jackson itself gives up (StreamReadConstraints)."""

CORRUPT = "_corrupt"
OBJECT = r"^\s*+\{"
_BOM = b"\xef\xbb\xbf"
_NON_FINITE = r":\s*[+-]?(NaN|Infinity|INF)\b"
_SURROGATE = r"(?i)\\ud[89ab][0-9a-f]{2}(?!\\ud[c-f])|(?<!\\ud[89ab][0-9a-f]{2})\\ud[c-f]"  # half a pair: no character


def text(value: Column) -> Column:
    """The value as text, a UTF-8 byte order mark removed; NULL where `envelope_problem` names a reason."""
    unmarked = F.when(F.substring(value, 1, 3) == F.lit(_BOM), F.substring(value, 4, MAX_BYTES)).otherwise(value)
    return F.when(F.octet_length(value).between(1, MAX_BYTES), F.try_validate_utf8(unmarked.cast("string")))


def envelope_problem(value: Column) -> Column:
    """Why the bytes cannot be parsed at all: tombstone, empty, oversize, bad_utf8; NULL when they can."""
    return (
        F.when(value.isNull(), "tombstone")
        .when(F.octet_length(value) == 0, "empty")
        .when(F.octet_length(value) > MAX_BYTES, "oversize")
        .when(~F.is_valid_utf8(value.cast("string")), "bad_utf8")
    )


def json_fields(text: Column, topic: Topic) -> Column:
    """The payload's promised fields as a struct of texts, nested ones nested: strings exactly, numbers with a point or an exponent as a
    double prints (`1.10` is `1.1`, exact to 15 digits, which no amount in contract exceeds).

    Everything is read as text because Spark's own conversions lose what a reason needs: they round decimals, accept NaN and turn a
    wrong type into NULL (reliability.md 3.6). Types are decided in columns/typed.py.
    """
    options = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": CORRUPT, "allowSingleQuotes": "false"}
    return F.from_json(text, _schema(topic), options)


def json_problem(text: Column, fields: Column) -> Column:
    """Why the text is not exactly one JSON object of the contract's shape; NULL when it is. `fields` is `json_fields(text)`.

    `from_json` accepts what follows the first object and lets the last of two equal keys win; the text must therefore also make a VARIANT
    (which refuses duplicate keys), in an array and followed by its own hash, which no text can hold. Without something behind it
    `{..}][{..}` would pass, and by something known `{..},0][{..}`: Spark's JSON functions stop where the first value is complete.
    Nearly every text is as it should be, which one pass over it shows; why another is not takes several.
    """
    own = F.xxhash64(text)
    signed = F.try_parse_json(F.concat(F.lit("["), text, F.lit(","), own.cast("string"), F.lit("]")))
    is_one = F.coalesce(F.try_variant_get(signed, "$[1]", "bigint") == own, F.lit(False))
    starts = text.startswith("{") | text.rlike(OBJECT)
    return F.when(~(starts & fields[CORRUPT].isNull() & is_one), _json_reason(text, fields))


def _json_reason(text: Column, fields: Column) -> Column:
    """The reason, of a text that has one."""
    followed = F.concat(F.lit("["), text, F.lit(",0]"))
    elements = F.json_array_length(followed)
    is_object = text.rlike(OBJECT)
    depth = F.length(F.regexp_replace(text, r"[^\[{]", ""))
    unreadable = (
        F.when(text.rlike(_NON_FINITE), "not_finite")
        .when(depth > MAX_DEPTH, "too_deep")
        .when(is_object & fields[CORRUPT].isNull(), "trailing_data")
        .otherwise("malformed_json")
    )
    unfit = F.when(fields[CORRUPT].isNotNull(), "malformed_json").when(text.rlike(_SURROGATE), "lone_surrogate").otherwise("duplicate_key")
    return (
        F.when(elements.isNull(), unreadable)
        .when(~is_object, "not_an_object")
        .when(elements != 2, "trailing_data")
        .when(F.try_parse_json(followed).isNull(), unfit)
        .when(fields[CORRUPT].isNotNull(), "wrong_type:payload")
        .otherwise("trailing_data")
    )


def _schema(topic: Topic) -> str:
    nested: dict[str, list[str]] = {}
    columns: list[str] = []
    for field in topic.fields:
        if len(field.path) == 1:
            columns.append(f"`{field.name}` STRING")
        else:
            nested.setdefault(field.path[0], []).append(f"`{field.path[1]}`: STRING")
    columns += [f"`{name}` STRUCT<{', '.join(inner)}>" for name, inner in nested.items()]
    return ", ".join([*columns, f"`{CORRUPT}` STRING"])
