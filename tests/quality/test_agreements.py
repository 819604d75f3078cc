"""Each agreement between tables notices the smallest difference."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, QueryBuilder
from deltalake.writer import write_deltalake

from promolake.core.table import Table
from promolake.engine.lakehouse import Lakehouse
from promolake.engine.ledger import LEDGER
from promolake.hallway import HALLWAY
from promolake.quality.agreements import SUMS, Agreement, Ask, Figure, measured, sides, volumes

ALL = (*volumes(HALLWAY.ingests), *SUMS)
TABLES = {table.name: table for table in (*HALLWAY.tables, LEDGER)}
by_name = {"ids": lambda agreement: agreement.name}


@pytest.fixture(scope="module")
def lake(clean_home: Path) -> Lakehouse:
    return Lakehouse(clean_home / "lake")


def asked(path: str) -> Ask:
    return lambda sql: pa.table(QueryBuilder().register("t", DeltaTable(path)).execute(sql).read_all()).to_pylist()


def asks(lake: Lakehouse) -> dict[str, Ask]:
    return {name: asked(lake.path(table)) for name, table in TABLES.items()}


def differences(agreement: Agreement, ask: dict[str, Ask]) -> dict[str, Decimal]:
    pairs = sides(agreement, measured(agreement.figures, ask))
    return {key: left - right for key, (left, right) in pairs.items() if left != right}


def rewritten(tmp_path: Path, lake: Lakehouse, table: Table, change: Callable[[pa.Table], pa.Table]) -> Ask:
    """The table with its rows changed; `n` numbers the rows."""
    rows = lake.read(table, table.column_names)
    path = str(tmp_path / table.short)
    write_deltalake(path, change(rows.append_column("n", pa.array(range(rows.num_rows)))), mode="overwrite")
    return asked(path)


@pytest.mark.parametrize("agreement", ALL, **by_name)
def test_tables_of_a_clean_lake_agree(lake: Lakehouse, agreement: Agreement) -> None:
    assert differences(agreement, asks(lake)) == {}


@pytest.mark.parametrize("agreement", [one for one in ALL if "max(" not in one.left.sql and one.name != "books_balance"], **by_name)
def test_a_single_lost_row_is_noticed(lake: Lakehouse, tmp_path: Path, agreement: Agreement) -> None:
    """Of the left table, one that counts: whose own figure is not 0. (The books' two sides are one table: see below.)"""
    table = TABLES[agreement.left.table]
    whole = rewritten(tmp_path, lake, table, lambda rows: rows)
    alone = Figure(table.name, agreement.left.sql, "n")
    lost = int(next(n for n, value in measured([alone], {table.name: whole})[alone].items() if value))
    ask = asks(lake) | {table.name: rewritten(tmp_path, lake, table, lambda rows: pa.concat_tables([rows[:lost], rows[lost + 1 :]]))}
    assert len(differences(agreement, ask)) == 1


@pytest.mark.parametrize("agreement", [one for one in SUMS if "amount" in one.left.sql], **by_name)
def test_a_cent_is_noticed_in_its_currency(lake: Lakehouse, tmp_path: Path, agreement: Agreement) -> None:
    table = TABLES[agreement.left.table]
    (column,) = (name for name in table.column_names if name in agreement.left.sql)

    def one_cent_more(rows: pa.Table) -> pa.Table:
        amounts = rows[column].to_pylist()
        changed = pa.array([amounts[0] + Decimal("0.01"), *amounts[1:]], rows.schema.field(column).type)
        return rows.set_column(rows.schema.get_field_index(column), column, changed)

    currency = lake.read(table, ("currency",))["currency"][0].as_py()
    ask = asks(lake) | {table.name: rewritten(tmp_path, lake, table, one_cent_more)}
    assert differences(agreement, ask) == {currency: Decimal("0.01")}


def ledger_with(tmp_path: Path, lake: Lakehouse, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Ask:
    def changed(rows: pa.Table) -> pa.Table:
        first, *others = rows.to_pylist()
        return pa.Table.from_pylist([first | change(first), *others], rows.schema)

    return rewritten(tmp_path, lake, LEDGER, changed)


def test_books_that_do_not_balance_are_noticed(lake: Lakehouse, tmp_path: Path) -> None:
    (balance,) = (one for one in ALL if one.name == "books_balance")
    ask = asks(lake) | {LEDGER.name: ledger_with(tmp_path, lake, lambda row: {"valid_count": row["valid_count"] + 1})}
    assert [*differences(balance, ask).values()] == [-1]


def test_a_silver_table_older_than_the_ledger_is_noticed(lake: Lakehouse, tmp_path: Path) -> None:
    (newest,) = (one for one in ALL if "max(" in one.left.sql)
    table = HALLWAY.ingests[0].table
    older = rewritten(tmp_path, lake, table, lambda rows: rows.filter(pc.less(rows["ingested_at"], pc.max(rows["ingested_at"]))))
    assert [*differences(newest, asks(lake) | {table.name: older})] == [HALLWAY.ingests[0].topic.name]


def test_a_key_that_one_side_lacks_is_0_there() -> None:
    one = Agreement("a", "A.", Figure("l", "sum(x)", "k"), (Figure("r", "sum(x)", "k"),))
    assert sides(one, {one.left: {"EUR": Decimal(1)}, one.right[0]: {"CNY": Decimal(2)}}) == {"CNY": (0, 2), "EUR": (1, 0)}


@pytest.mark.parametrize("agreement", ALL, **by_name)
def test_an_agreement_names_tables_that_exist_and_says_what_it_asks(agreement: Agreement) -> None:
    assert agreement.tables <= {*TABLES}
    assert agreement.description.endswith(".")
