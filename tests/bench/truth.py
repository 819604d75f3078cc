"""The gate: what the common tables must hold of the events sent, in plain Python, and where an engine's tables differ from it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa

from promolake.producers.truth import Happening, Line, Request

Rows = dict[tuple[Any, ...], tuple[Any, ...]]
"""Figures by grain; the grain begins with the minute, in seconds since 1970."""

_MONEY = "sum({})::DECIMAL(28, 4)"
QUESTIONS = {
    "gmv_per_minute": f"currency, {_MONEY.format('gmv_amount')}, sum(sale_count)::BIGINT",
    "sales_per_product_per_minute": f"currency, product_id, {_MONEY.format('sales_amount')}, sum(unit_count)::BIGINT",
    "requests_per_ip_per_minute": "ip, sum(request_count)::BIGINT",
}
"""What is asked of each table, from whichever partial rows an engine keeps: its grain, then its figures."""

GRAINS = {"gmv_per_minute": 2, "sales_per_product_per_minute": 3, "requests_per_ip_per_minute": 2}
_COUNTED = {"gmv_per_minute": "sale_count", "sales_per_product_per_minute": "unit_count", "requests_per_ip_per_minute": "request_count"}


class Expected:
    """What bronze and the common gold tables must hold of the happenings added so far. Only clean ones: peers do not cleanse."""

    def __init__(self) -> None:
        self.records: dict[str, int] = defaultdict(int)
        self.tables: dict[str, Rows] = {name: {} for name in QUESTIONS}

    def add(self, happening: Happening) -> None:
        self.records[happening.message.topic] += 1
        fact = happening.fact
        if isinstance(fact, Line) and fact.status == "PAID" and fact.quantity > 0 and fact.unit_price > 0:
            minute, amount = fact.at // 60_000 * 60, fact.quantity * fact.unit_price
            self._more("gmv_per_minute", (minute, fact.currency), (amount, 1))
            self._more("sales_per_product_per_minute", (minute, fact.currency, fact.product_id), (amount, fact.quantity))
        elif isinstance(fact, Request):
            self._more("requests_per_ip_per_minute", (happening.at // 60_000 * 60, fact.ip), (1,))

    def _more(self, table: str, grain: tuple[Any, ...], figures: tuple[Any, ...]) -> None:
        before = self.tables[table].get(grain)
        self.tables[table][grain] = tuple(map(sum, zip(before, figures, strict=True))) if before else figures


def held(table: str, rows: pa.Table) -> Rows:
    """An engine's rows of a common table, summed to its grain; rows that count nothing are none."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("held", rows)
        question = f"SELECT epoch(window_start)::BIGINT, {QUESTIONS[table]} FROM held GROUP BY ALL HAVING sum({_COUNTED[table]}) <> 0"
        found = connection.sql(question).fetchall()
    grain = GRAINS[table]
    return {row[:grain]: row[grain:] for row in found}


def differences(expected: Mapping[str, Rows], found: Mapping[str, Rows]) -> list[str]:
    """A sentence per table that differs, with one example; none where an engine's result is the truth."""
    said = []
    for table, rows in expected.items():
        wrong = [grain for grain in {**rows, **found[table]} if rows.get(grain) != found[table].get(grain)]
        if wrong:
            example = min(wrong, key=str)
            said.append(f"{table}: {len(wrong)} of {len(rows)} rows differ, {example}: {found[table].get(example)} for {rows.get(example)}")
    return said


def judged(differences: Callable[[], list[str]]) -> list[str]:
    """What the gate says. A table that cannot be read differs."""
    try:
        return differences()
    except Exception as error:  # whatever stops a reader stops the score
        return [f"its tables cannot be read: {type(error).__name__}: {str(error)[:200]}"]


def same_sum(name: str, expected: Decimal | int, found: Decimal | int | None) -> list[str]:
    """A sentence where a total differs."""
    return [] if found == expected else [f"{name}: {found} for {expected}"]
