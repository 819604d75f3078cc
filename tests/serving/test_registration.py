"""The lake's names in a Spark session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from promolake.core.errors import SettingsError
from promolake.hallway import HALLWAY
from promolake.serving.registration import registered

pytestmark = pytest.mark.spark

COUNT = "SELECT CAST(SUM(unit_count) AS INT) AS n FROM gold.sales_per_product_per_minute"


@pytest.fixture
def catalog(spark: SparkSession) -> Iterator[SparkSession]:
    """The session, left without the databases of the lake."""
    yield spark
    for database in ("gold", "silver"):
        spark.sql(f"DROP DATABASE IF EXISTS {database} CASCADE")


def test_tables_and_the_views_over_them_get_the_names_they_have_without_spark(catalog: SparkSession, lake: Any) -> None:
    lake.sales((0, "CNY", "p1", "1", 3))
    assert registered(catalog, lake.root) == ["gold.sales_per_product_per_minute", "gold.top_products"]
    assert catalog.sql("SELECT product_id FROM gold.top_products WHERE rank = 1").first()["product_id"] == "p1"


def test_dropping_what_was_registered_leaves_the_lake(catalog: SparkSession, lake: Any) -> None:
    lake.sales((0, "CNY", "p1", "1", 3))
    registered(catalog, lake.root)
    catalog.sql("DROP DATABASE gold CASCADE")
    registered(catalog, lake.root)
    assert catalog.sql(COUNT).first()["n"] == 3


def test_registering_another_lake_takes_the_names_over(catalog: SparkSession, lake: Any, tmp_path: Path) -> None:
    lake.sales((0, "CNY", "p1", "1", 3))
    registered(catalog, lake.root)
    other = type(lake)(tmp_path / "it's another")
    other.sales((0, "CNY", "p1", "1", 4))
    registered(catalog, other.root)
    assert catalog.sql(COUNT).first()["n"] == 4


def test_what_holds_personal_data_in_clear_is_not_named(catalog: SparkSession, lake: Any) -> None:
    for name in ("bronze.shop_orders", "silver.quarantine_orders", "silver.orders"):
        lake.add(next(table for table in HALLWAY.tables if table.name == name), [])
    assert registered(catalog, lake.root) == ["silver.orders"]


def test_a_session_in_another_time_zone_is_refused(spark: SparkSession, lake: Any) -> None:
    elsewhere = spark.newSession()
    elsewhere.conf.set("spark.sql.session.timeZone", "Asia/Shanghai")
    with pytest.raises(SettingsError, match="Asia/Shanghai"):
        registered(elsewhere, lake.root)


def test_a_table_the_catalog_owns_is_never_replaced(catalog: SparkSession, lake: Any) -> None:
    lake.sales((0, "CNY", "p1", "1", 3))
    registered(catalog, lake.root)
    catalog.sql("DROP TABLE gold.sales_per_product_per_minute")
    catalog.sql("CREATE TABLE gold.sales_per_product_per_minute (i INT) USING DELTA")
    with pytest.raises(SettingsError, match="of its own"):
        registered(catalog, lake.root)
