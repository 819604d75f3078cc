"""Gold is compared with what was sent figure by figure; a difference, however small, shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from promolake.cli.agreement import Compared, compared, held, promised
from promolake.core.table import Table
from promolake.engine.arrow import arrow_schema
from promolake.engine.lakehouse import Lakehouse, Txn
from promolake.gold import (
    errors_per_minute,
    funnel_per_minute,
    gmv_per_minute,
    requests_per_ip_per_minute,
    sales_per_product_per_minute,
    traffic_per_minute,
)

MINUTE = {"window_start": datetime(2026, 11, 11, tzinfo=UTC), "window_end": datetime(2026, 11, 11, 0, 1, tzinfo=UTC)}
NEXT = {name: at + timedelta(minutes=1) for name, at in MINUTE.items()}
TRUTH = {
    "orders": {
        "CNY": {"gmv_amount": "30.3000", "refund_amount": "-5.0001", "unit_count": 5, "sale_count": 3, "order_count": 2},
        "USD": {"gmv_amount": "0", "refund_amount": "0", "unit_count": 0, "sale_count": 0, "order_count": 0},
    },
    "request_count": 9,
    "page_view_count": 4,
    "error_count": 1,
}


@pytest.fixture
def lake(tmp_path: Path) -> Lakehouse:
    """Gold as it must be after TRUTH, in two rows wherever a figure adds up over rows."""
    lake = Lakehouse(tmp_path)
    orders = {"currency": "CNY", "category": "toys", "ordered_amount": Decimal(0), "order_count": 1, "buyer_count": 1}
    put(lake, gmv_per_minute.TABLE, orders | MINUTE | sold("10.1000", "-5.0001", 2, 1), orders | NEXT | sold("20.2000", "0", 3, 2))
    product = {"currency": "CNY", "product_id": "p", "sale_count": 1, "unit_count": 1}
    amounts = ({"sales_amount": Decimal("10.3000")}, {"sales_amount": Decimal("20.0000")})
    put(lake, sales_per_product_per_minute.TABLE, *(product | at | amount for at, amount in zip((MINUTE, NEXT), amounts, strict=True)))
    put(lake, funnel_per_minute.TABLE, MINUTE | {"order_count": 2})
    requests = ({"request_count": 5, "page_view_count": 4}, {"request_count": 4, "page_view_count": 0})
    put(lake, traffic_per_minute.TABLE, *(at | counts for at, counts in zip((MINUTE, NEXT), requests, strict=True)))
    put(lake, requests_per_ip_per_minute.TABLE, MINUTE | {"ip": "192.0.2.1", "request_count": 9})
    put(lake, errors_per_minute.TABLE, MINUTE | {"service": "cart", "error_count": 1})
    return lake


def sold(gmv: str, refund: str, units: int, sales: int) -> dict[str, object]:
    return {"gmv_amount": Decimal(gmv), "refund_amount": Decimal(refund), "unit_count": units, "sale_count": sales}


def put(lake: Lakehouse, table: Table, *rows: dict[str, object]) -> None:
    given = pa.Table.from_pylist(list(rows), schema=arrow_schema(table))
    lake.upsert(table, given, Txn("test", lake.transaction(table, "test") + 1))


def test_gold_that_holds_what_was_sent_agrees_in_every_figure(lake: Lakehouse) -> None:
    rows = compared(promised(TRUTH), {}, held(lake))
    assert [row for row in rows if not row.agrees] == []
    assert {row.figure: row.sent for row in rows if row.figure.endswith("CNY")} == {
        "gmv_amount CNY": Decimal("30.3"),
        "refund_amount CNY": Decimal("-5.0001"),
        "sales_amount CNY": Decimal("30.3"),
        "sale_count CNY": 3,
        "unit_count CNY": 5,
    }
    assert {"order_count", "request_count", "request_count by IP", "page_view_count", "error_count"} <= {row.figure for row in rows}


@pytest.mark.parametrize(
    ("figure", "truth"),
    [
        ("refund_amount CNY", {"orders": {"CNY": TRUTH["orders"]["CNY"] | {"refund_amount": "-5.0002"}}}),
        ("order_count", {"orders": {"CNY": TRUTH["orders"]["CNY"] | {"order_count": 3}}}),
        ("error_count", {"error_count": 0}),
        ("page_view_count", {"page_view_count": 5}),
    ],
)
def test_a_figure_that_differs_is_named_and_no_other(lake: Lakehouse, figure: str, truth: dict) -> None:
    """The control: the comparison can fail."""
    rows = compared(promised(TRUTH | truth), {}, held(lake))
    assert [row.figure for row in rows if not row.agrees] == [figure]


def test_a_currency_only_gold_or_only_the_books_know_differs() -> None:
    one = {"gmv_amount EUR": Decimal("1.0000")}
    assert compared(one, {}, {}) == [Compared("gmv_amount EUR", Decimal(1), Decimal(0))]
    assert compared({}, {}, one) == [Compared("gmv_amount EUR", Decimal(0), Decimal(1))]
    assert not compared({}, {}, one)[0].agrees


def test_what_gold_held_before_the_run_does_not_count(lake: Lakehouse) -> None:
    before = held(lake)
    put(lake, errors_per_minute.TABLE, MINUTE | {"service": "cart", "error_count": 2})
    grown = {row.figure: row.gold for row in compared({"error_count": Decimal(2)}, before, held(lake)) if row.gold}
    assert grown == {"error_count": Decimal(2)}


def test_an_empty_gold_holds_nothing(tmp_path: Path) -> None:
    assert set(held(Lakehouse(tmp_path)).values()) == {Decimal(0)}
