"""SQL without Spark: what it answers, what it refuses, and how it says so."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, TableFeatures

from promolake.core.errors import SettingsError
from promolake.engine.lateness import RESTATEMENTS
from promolake.engine.ledger import LEDGER
from promolake.hallway import HALLWAY
from promolake.serving import catalog
from promolake.serving.sql import Reader


@pytest.fixture
def reader(lake: Any) -> Iterator[Reader]:
    lake.sales((0, "CNY", "p1", "10.1234", 2), (1, "USD", "p2", "3", 1))
    with Reader(lake.root) as opened:
        yield opened


def refusal(reader: Reader, sql: str) -> str:
    with pytest.raises(SettingsError) as refused:
        reader.query(sql)
    return str(refused.value)


def table(name: str) -> Any:
    return next(table for table in HALLWAY.tables if table.name == name)


# --- answers -------------------------------------------------------------------------------------------------------------------


def test_money_stays_decimal_and_times_are_utc(reader: Reader) -> None:
    found = reader.query("SELECT sales_amount, window_start FROM gold.sales_per_product_per_minute WHERE product_id = 'p1'")
    assert found.schema.types == [pa.decimal128(28, 4), pa.timestamp("us", "UTC")]
    assert found.to_pylist() == [{"sales_amount": Decimal("10.1234"), "window_start": datetime(2026, 11, 11, tzinfo=UTC)}]


def test_names_are_the_same_in_any_case_and_quoted(reader: Reader) -> None:
    assert reader.query('SELECT COUNT(*) AS n FROM Gold."SALES_per_product_per_minute"').to_pylist() == [{"n": 2}]


def test_a_with_may_carry_the_name_of_a_layer_or_a_table(reader: Reader) -> None:
    sql = """WITH gold AS (SELECT * FROM gold.sales_per_product_per_minute), bronze AS (SELECT * FROM gold)
             SELECT SUM(unit_count) AS n FROM bronze"""
    assert reader.query(sql).to_pylist() == [{"n": Decimal(3)}]


def test_tables_are_found_wherever_a_query_names_them(reader: Reader, lake: Any) -> None:
    lake.gmv((0, "CNY", "7", "0"))
    sql = """SELECT currency FROM gold.gmv_per_minute JOIN gold.sales_per_product_per_minute USING (window_start, currency)
             WHERE EXISTS (SELECT 1 FROM gold.top_products WHERE rank = 1)"""
    assert reader.query(sql).to_pylist() == [{"currency": "CNY"}]


def test_a_query_sees_what_was_written_after_the_one_before(reader: Reader, lake: Any) -> None:
    sql = "SELECT SUM(unit_count) AS n FROM gold.top_products WHERE span = 'whole promotion' AND ranked_by = 'units'"
    assert reader.query(sql).to_pylist() == [{"n": 3}]
    lake.sales((2, "CNY", "p1", "1", 5))
    assert reader.query(sql).to_pylist() == [{"n": 8}]


@pytest.mark.parametrize("condition", ["= 'CNY'", "> 'B'", "IN ('CNY', 'EUR')", "LIKE 'CN%'", "IS NOT NULL", "<> 'USD'"])
def test_text_can_be_filtered_in_a_table_that_was_merged(reader: Reader, lake: Any, condition: str) -> None:
    lake.sales((0, "CNY", "p1", "1", 1), (0, "CNY", "p3", "1", 1))  # delta-rs writes merged text as string_view
    found = reader.query(f"SELECT COUNT(*) AS n FROM gold.sales_per_product_per_minute WHERE currency {condition} AND product_id <> 'p2'")
    assert found.to_pylist() == [{"n": 2}]


def test_only_the_tables_a_query_names_are_opened(reader: Reader, lake: Any) -> None:
    lake.gmv((0, "CNY", "7", "0"))
    log = lake.root / "gold" / "gmv_per_minute" / "_delta_log"
    for commit in log.iterdir():
        commit.write_text("not a commit")
    assert reader.query("SELECT COUNT(*) AS n FROM gold.sales_per_product_per_minute").to_pylist() == [{"n": 2}]
    assert "gold.gmv_per_minute cannot be read" in refusal(reader, "SELECT * FROM gold.gmv_per_minute")


def test_every_table_of_the_hallway_can_be_read_unless_it_holds_personal_data_in_clear(lake: Any) -> None:
    every = [*HALLWAY.tables, LEDGER, RESTATEMENTS]
    for one in every:
        lake.add(one, [])
    with Reader(lake.root) as reader:
        shown = {relation.name: relation for relation in reader.tables()}
        for one in every:
            if one.layer == "bronze" or "quarantine" in one.name:
                assert one.name not in shown
                assert "personal data in clear" in refusal(reader, f"SELECT COUNT(*) FROM {one.name}")
            else:
                assert reader.query(f"SELECT * FROM {one.name}").column_names == list(one.column_names)
                assert shown[one.name].description == one.description
        for view in catalog.views().values():
            assert reader.query(f"SELECT * FROM {view.name}").num_rows == 0
            assert shown[view.name].kind == "view"


def test_a_view_is_listed_once_its_tables_are_there(reader: Reader) -> None:
    assert [relation.name for relation in reader.tables()] == ["gold.sales_per_product_per_minute", "gold.top_products"]


# --- refusals ------------------------------------------------------------------------------------------------------------------


def test_a_missing_table_is_named_with_those_there_are(reader: Reader) -> None:
    there = "There are gold.sales_per_product_per_minute, gold.top_products."
    assert refusal(reader, "SELECT * FROM gold.nope") == f"There is no table gold.nope. {there}"
    assert refusal(reader, "SELECT * FROM gold.gmv_running") == f"There is no table gold.gmv_per_minute. {there}"
    assert there in refusal(reader, "SELECT * FROM nope")
    assert there in refusal(reader, "SELECT * FROM information_schema.tables")


def test_an_empty_lake_says_so_with_its_remedy(tmp_path: Path) -> None:
    with Reader(tmp_path / "nowhere") as reader:
        assert "holds no table yet. Fill it with `promolake run`" in refusal(reader, "SELECT 1")


@pytest.mark.parametrize(
    "name", ["bronze.shop_orders", 'BRONZE."shop_orders"', "bronze.nope", "silver.quarantine_orders", "(FROM silver.quarantine_orders)"]
)
def test_personal_data_in_clear_is_not_shown(reader: Reader, lake: Any, name: str) -> None:
    lake.add(table("bronze.shop_orders"), [])
    lake.add(table("silver.quarantine_orders"), [])
    assert "holds personal data in clear" in refusal(reader, f"SELECT * FROM gold.top_products, {name}")


@pytest.mark.parametrize("door", ["query_table('bronze.shop_orders')", "query('SELECT * FROM bronze.shop_orders')"])
def test_a_name_made_at_run_time_opens_no_table(reader: Reader, lake: Any, door: str) -> None:
    lake.add(table("bronze.shop_orders"), [])
    assert "cannot be answered" in refusal(reader, f"SELECT * FROM {door}")


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "-- nothing",
        "SELECT 1; SELECT 2",
        "INSERT INTO gold.sales_per_product_per_minute SELECT * FROM gold.sales_per_product_per_minute",
        "WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a",
        "CREATE TABLE t (i INT)",
        "DROP SCHEMA gold CASCADE",
        "ATTACH ':memory:' AS other",
        "COPY (SELECT 1) TO '{file}'",
        "EXPORT DATABASE '{file}'",
        "PRAGMA database_list",
        "SET threads = 1",
        "RESET lock_configuration",
        "INSTALL httpfs",
        "LOAD httpfs",
        "CALL pragma_version()",
        "EXPLAIN ANALYZE SELECT 1",
        "SHOW TABLES",
        "DESCRIBE gold.top_products",
    ],
)
def test_what_is_not_one_query_is_refused(reader: Reader, tmp_path: Path, sql: str) -> None:
    file = tmp_path / "out"
    assert refusal(reader, sql.format(file=file)).endswith("Write one SELECT or WITH ... SELECT.")
    assert not file.exists()


def test_what_is_no_sql_is_refused_with_the_place(reader: Reader) -> None:
    assert 'syntax error at or near "SELEC"' in refusal(reader, "SELEC 1")


def test_a_query_that_hides_a_change_changes_nothing(reader: Reader) -> None:
    before = reader.query("SELECT * FROM gold.sales_per_product_per_minute")
    refusal(reader, "WITH gone AS (DELETE FROM gold.sales_per_product_per_minute RETURNING *) SELECT * FROM gone")
    assert reader.query("SELECT * FROM gold.sales_per_product_per_minute") == before


@pytest.mark.parametrize(
    "source", ["'{file}'", "read_csv('{file}')", "read_text('{file}')", "read_blob('{file}')", "read_parquet('{file}')", "glob('{file}')"]
)
def test_no_file_can_be_read(reader: Reader, tmp_path: Path, source: str) -> None:
    file = tmp_path / "secret.csv"
    file.write_text("a,b\n1,2\n")
    refusal(reader, f"SELECT * FROM {source.format(file=file)}")


def test_no_variable_of_the_process_is_a_table(reader: Reader) -> None:
    secret = pa.table({"key": ["k"]})
    assert secret.num_rows == 1
    assert "secret does not exist" in refusal(reader, "SELECT * FROM secret")


def test_a_table_with_deletion_vectors_is_refused_rather_than_read_wrong(reader: Reader, lake: Any) -> None:
    delta = DeltaTable(lake.root / "gold" / "sales_per_product_per_minute")
    delta.alter.add_feature(TableFeatures.DeletionVectors, allow_protocol_versions_increase=True)
    assert "cannot be read without Spark" in refusal(reader, "SELECT * FROM gold.sales_per_product_per_minute")
