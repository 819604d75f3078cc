"""Text as it comes: the rare case is looked for before it is dealt with, which a column of any length pays for in each row."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F


def readable(value: Column) -> Column:
    """Bytes as text, whatever they are: what is no UTF-8 stands as U+FFFD."""
    text = value.cast("string")
    # The second is looked up by its name in every interpreted row.
    return F.coalesce(F.try_validate_utf8(text), F.make_valid_utf8(text))


def without(text: Column, character: str) -> Column:
    """The text without a character. To look for it is a fifth of the work of taking it out."""
    return F.when(F.contains(text, F.lit(character)), F.translate(text, character, "")).otherwise(text)
