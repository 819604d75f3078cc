"""From the exact text of a field to its typed value and, where it breaks the contract, the reason.

Value and problem are two steps: the problem refers to the value as a column computed before. Written as one expression each value would
stand in the plan several times, and a plan three times the size costs half a second more in every micro-batch (DECISIONS.md).
"""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

from promolake.columns.text import without
from promolake.core.topic import Field

MAX_MONEY = 1_000_000_000
MONEY_SCALE = 4
MAX_ID = 256
_NUL = "\0"  # PostgreSQL's text and jsonb refuse it
_BLANK = f" \t\r\n{_NUL}"

_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_NON_FINITE = r'(?i)^"?[+-]?(nan|inf|infinity)"?$'  # Spark's JSON reader hands 1e400 over as "Infinity", quotes included


def value(field: Field, given: Column) -> Column:
    """The typed value of a source text by the field's kind; NULL where the text is none. Times are not read here."""
    match field.kind:
        case "id":
            return F.when((F.length(given) <= MAX_ID) & ~given.rlike(r"^\s*[\[{]"), without(given, _NUL))
        case "integer":
            return given.try_cast("bigint")
        case "decimal":
            return given.try_cast("decimal(38,18)")
        case "percent":
            return F.when(given.rlike(_NUMBER), given.try_cast("double"))  # alone, the cast takes `5f` and `NaN`
        case "ip":  # from logs that resolve names it may be a host; IPv4 inside IPv6 is unwrapped
            return F.when(given.rlike(r"^[0-9A-Za-z.:_%-]{1,255}$"), F.lower(F.regexp_replace(given, r"(?i)^::ffff:(?=\d+\.)", "")))
        case "code":
            return F.upper(F.trim(given))
        case _:
            return without(given, _NUL)


def problem(field: Field, given: Column, value: Column) -> Column | None:
    """Why `value`, read from `given`, breaks the field's contract; NULL where it does not. None where nothing can break it."""
    wrong = _wrong(field, given, value)
    if not field.required:
        return wrong
    missing = F.when(F.coalesce(F.trim(given, F.lit(_BLANK)), F.lit("")) == "", f"missing:{field.flat}")
    return missing if wrong is None else missing.otherwise(wrong)


def _wrong(field: Field, given: Column, value: Column) -> Column | None:
    unread = given.isNotNull() & value.isNull()
    match field.kind:
        case "id":
            return F.when(unread, f"wrong_type:{field.flat}")
        case "ip":  # a client address that cannot be one is NULL, not a reason to refuse an order
            return F.when(unread, f"wrong_type:{field.flat}") if field.required else None
        case "integer":
            return F.when(unread, f"wrong_type:{field.flat}").when(
                ~value.between(field.minimum, field.maximum), f"out_of_range:{field.flat}"
            )
        case "decimal":
            return F.when(unread, _unread_number(field, given, "amount_range")).when(
                F.abs(value) >= MAX_MONEY, "amount_range"
            ).when(F.round(value, MONEY_SCALE) != value, "amount_scale")  # fmt: skip
        case "percent":
            return F.when(unread, _unread_number(field, given, "not_finite")).when(
                ~value.between(field.minimum, field.maximum), f"out_of_range:{field.flat}"
            )
        case "code":
            return F.when(~value.isin(*field.one_of), f"unknown_{field.flat}")
        case _:
            return None


def _unread_number(field: Field, given: Column, too_large: str) -> Column:
    return F.when(given.rlike(_NON_FINITE), "not_finite").when(given.rlike(_NUMBER), too_large).otherwise(f"wrong_type:{field.flat}")
