"""Two tables that should be one: which rows are missing, which are one too many, which differ, and in what columns.

Everything is compared exactly, NULL equal to NULL, but for two kinds of column: sketches, whose bytes depend on the order in which they
were fed, and doubles where the other side adds in another order, if the caller allows for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from statistics import NormalDist
from typing import Any

import duckdb
import pyarrow as pa

from promolake.core.table import Table

SKETCH = "_sketch"  # what the name of a sketch's column ends with
SIGMAS = 3
RELATIVE = 1e-12
"""How far doubles added in another order may lie apart, as a share of the larger: a hundred samples cost about 1e-14."""

POSITION = ("partition", "offset")
_SHOWN = ("currency", "category", "product_id", "host", "service")  # of a grain: what names no person
_LONGEST = 40


@dataclass(frozen=True)
class Finding:
    """What one check of one thing found: `rows` looked at, `differing` of them wrong, the first of these as `example`.

    `behind`: all that differs is what a join has yet to be settled for (see Verifier), which is no error.
    """

    check: str
    subject: str
    rows: int
    differing: int = 0
    example: str = ""
    behind: bool = False

    @property
    def agrees(self) -> bool:
        return self.differing == 0

    @property
    def is_wrong(self) -> bool:
        return not self.agrees and not self.behind


@dataclass(frozen=True)
class Difference:
    """How many rows of a table are not as they should be, and one of them in words that name no person."""

    missing: int = 0
    extra: int = 0
    changed: int = 0
    example: str = ""

    @property
    def rows(self) -> int:
        return self.missing + self.extra + self.changed


Unequal = Callable[[str, str], str]
"""From a column's name and type to the SQL condition that its values h.x (held) and e.x (expected) differ."""


def difference(table: Table, held: pa.Table, expected: pa.Table, unequal: Unequal) -> Difference:
    """How `held` differs from `expected`, both with the table's columns.

    Equal rows cancel out, copy by copy. Of the others those belong together that have the table's grain in common, in silver and
    quarantine the position in Kafka; of several with the same key each needs one of its own.
    """
    key, shown = key_of(table), shown_of(table)
    with connected() as connection:
        connection.register("held_rows", held)
        connection.register("expected_rows", expected)
        connection.execute(f"CREATE TEMP TABLE wrong AS {_wrong(table, key, shown, unequal, held.schema.types == expected.schema.types)}")
        counts = dict(connection.sql("SELECT _kind, count(*) FROM wrong GROUP BY _kind").fetchall())
        example = connection.sql(f"SELECT * FROM wrong ORDER BY {', '.join(map(_q, shown))}, _kind LIMIT 1").fetchall()
    return Difference(**counts, example=told(shown, *example[0]) if example else "")


def _wrong(table: Table, key: Sequence[str], shown: Sequence[str], unequal: Unequal, may_cancel: bool) -> str:
    """The query for what is wrong: of each such row the `shown` columns, its `_kind`, and the names of the `_columns` that differ.

    Equal rows cancel out first if they `may_cancel`; an exact count in the place of a sketch is never equal to it.
    """
    held, expected = "FROM held_rows", "FROM expected_rows"
    if may_cancel:
        held, expected = f"{held} EXCEPT ALL {expected}", f"{expected} EXCEPT ALL {held}"
    figures = [column for column in table.columns if column.name not in key]
    changes = ", ".join(f"CASE WHEN {unequal(column.name, column.type)} THEN '{column.name}' END" for column in figures)
    order = ", ".join(_q(column.name) for column in figures)
    place = ", ".join(map(_q, key))
    number = f"row_number() OVER (PARTITION BY {place} ORDER BY {order}) AS _nth"
    same = " AND ".join(f"h.{_q(name)} IS NOT DISTINCT FROM e.{_q(name)}" for name in key)
    first = ", ".join(f"coalesce(h.{_q(name)}, e.{_q(name)}) AS {_q(name)}" for name in shown)
    return f"""
        WITH h AS (SELECT *, {number} FROM ({held})), e AS (SELECT *, {number} FROM ({expected}))
        SELECT
            {first},
            CASE WHEN h._nth IS NULL THEN 'missing' WHEN e._nth IS NULL THEN 'extra' ELSE 'changed' END AS _kind,
            list_filter([{changes}], lambda name: name IS NOT NULL) AS _columns
        FROM h FULL JOIN e ON {same} AND h._nth = e._nth
        WHERE h._nth IS NULL OR e._nth IS NULL OR len(_columns) > 0
    """


def connected() -> duckdb.DuckDBPyConnection:
    """A DuckDB in memory, in UTC, that knows sketches and sees nothing but what is registered with it."""
    connection = _opened().cursor()
    connection.execute("SET TimeZone = 'UTC'")
    return connection


@cache
def _opened() -> duckdb.DuckDBPyConnection:
    """Opened once: that takes some 25 ms."""
    connection = duckdb.connect(config={"python_enable_replacements": False})
    connection.create_function("same_sketch", _same_sketch, ["BLOB", "BLOB"], "BOOLEAN")
    connection.create_function("near_estimate", _near_estimate, ["BLOB", "BIGINT", "DOUBLE"], "BOOLEAN")
    return connection


def exactly(name: str, _type: str) -> str:
    """Values differ when they are not the same; sketches when they are not of the same set."""
    apart = f"h.{_q(name)} IS DISTINCT FROM e.{_q(name)}"
    return f"({apart} AND NOT coalesce(same_sketch(h.{_q(name)}, e.{_q(name)}), false))" if name.endswith(SKETCH) else apart


def within_error(rows: int) -> Unequal:
    """Doubles differ by more than RELATIVE; a sketch by more than SIGMAS standard errors from the exact count that stands in its place.

    Of a thousand healthy sketches two or three lie beyond three standard errors. So the bound is widened with the number of `rows`,
    such that all of them together are as likely to pass as one would be at SIGMAS.
    """
    sigmas = bound(rows)

    def unequal(name: str, type: str) -> str:
        h, e = f"h.{_q(name)}", f"e.{_q(name)}"
        if name.endswith(SKETCH):
            return f"NOT coalesce(near_estimate({h}, {e}, {sigmas}), {h} IS NULL AND {e} IS NULL)"
        if type == "double":
            near = f"abs({h} - {e}) < {RELATIVE} * greatest(abs({h}), abs({e}))"  # not <=: infinity would be near to everything
            return f"({h} IS DISTINCT FROM {e} AND NOT coalesce({near}, false))"
        return f"{h} IS DISTINCT FROM {e}"

    return unequal


def bound(sketches: int) -> float:
    """How many standard errors one of so many sketches may lie off."""
    normal = NormalDist()
    return max(SIGMAS, normal.inv_cdf(1 - (1 - normal.cdf(SIGMAS)) / max(1, sketches)))


# datasketches takes 0.3 s to import, which a table without a sketch need not wait for.


def _same_sketch(one: bytes, other: bytes) -> bool:
    """Whether two HLL sketches hold the same registers: then, and only then, uniting them changes neither's estimate."""
    try:
        return _united(one, one) == _united(other, other) == _united(one, other)
    except (ValueError, IndexError):  # not a sketch, or cut short
        return False


def _united(*sketches: bytes) -> int:
    """The estimate of their union. A sketch united with itself forgets the order it was fed in, on which its estimate depends else."""
    from datasketches import HLL_8, hll_sketch, hll_union

    read = [hll_sketch.deserialize(sketch) for sketch in sketches]
    union = hll_union(max(sketch.lg_config_k for sketch in read))
    for sketch in read:
        union.update(sketch)
    return round(union.get_result(HLL_8).get_estimate() * 1000)


def _near_estimate(sketch: bytes, exact: int, sigmas: float) -> bool:
    """Whether the estimate, as a whole number, is within so many standard errors (1.04 / sqrt(registers), relative) of the exact count."""
    from datasketches import hll_sketch

    try:
        read = hll_sketch.deserialize(sketch)
    except (ValueError, IndexError):
        return False
    return abs(math.floor(read.get_estimate() + 0.5) - exact) <= sigmas * 1.04 / math.sqrt(2**read.lg_config_k) * exact


def key_of(table: Table) -> Sequence[str]:
    """The columns that say which row is which."""
    return POSITION if "offset" in table.column_names else table.grain


def shown_of(table: Table) -> list[str]:
    """The columns of an example that may be told."""
    return [name for name in dict.fromkeys((*table.stats, *key_of(table))) if name in (*table.stats, *_SHOWN)]


def told(shown: Sequence[str], *row: Any) -> str:
    """A wrong row in words: its `shown` values, its kind, and the columns that differ."""
    *values, kind, columns = row
    place = ", ".join(f"{name} {_value(value)}" for name, value in zip(shown, values, strict=True))
    return f"{place}: {', '.join(columns)}" if kind == "changed" else f"{place}: {kind}"


def _value(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return repr(value if not isinstance(value, str) or len(value) <= _LONGEST else f"{value[:_LONGEST]}...")


def _q(name: str) -> str:
    return f'"{name}"'
