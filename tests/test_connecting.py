"""`promolake.connect()`: one line to a lake, without a JVM unless one is asked for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

import promolake
from promolake.core.errors import PromolakeError, SettingsError
from promolake.engine.arrow import arrow_schema
from promolake.engine.lakehouse import Lakehouse, Txn
from promolake.gold.sales_per_product_per_minute import TABLE as SALES

MIDNIGHT = datetime(2026, 11, 11, tzinfo=UTC)
SOLD = "SELECT product_id, sales_amount, window_start FROM gold.sales_per_product_per_minute ORDER BY product_id"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.delenv("PROMOLAKE_HOME", raising=False)
    sold(tmp_path / "home", "p1", 0)
    return tmp_path / "home"


def sold(home: Path, product: str, batch: int) -> None:
    row = {"window_start": MIDNIGHT, "window_end": MIDNIGHT + timedelta(minutes=1), "currency": "CNY"}
    row |= {"product_id": product, "sales_amount": Decimal("0.1"), "unit_count": 3, "sale_count": 1}
    Lakehouse(home / "lake").upsert(SALES, pa.Table.from_pylist([row], schema=arrow_schema(SALES)), Txn("test", batch))


def test_importing_promolake_imports_nothing_that_is_heavy() -> None:
    look = "import sys, promolake; print([name for name in ('pyspark', 'pandas', 'duckdb', 'deltalake') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout == "[]\n"
    with pytest.raises(AttributeError, match="promolake has no conect"):
        _ = promolake.conect


def test_connecting_gives_a_frame_with_exact_money_and_times_in_utc(home: Path) -> None:
    found = promolake.connect(home).sql(SOLD)
    assert found.to_dict("records") == [{"product_id": "p1", "sales_amount": Decimal("0.1000"), "window_start": MIDNIGHT}]


def test_tables_are_those_that_can_be_asked(home: Path) -> None:
    found = promolake.connect(home).tables()
    assert list(zip(found.name, found.kind, strict=True)) == [("gold.sales_per_product_per_minute", "table"), ("gold.top_products", "view")]


def test_without_a_home_it_is_the_variables(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMOLAKE_HOME", str(home))
    assert promolake.connect().home == home


def test_the_lake_at_an_instant_is_what_had_been_committed_by_then(home: Path) -> None:
    lake = promolake.connect(home)
    between = datetime.now(UTC)
    sold(home, "p2", 1)
    assert list(lake.sql(SOLD).product_id) == ["p1", "p2"]
    assert list(lake.at(between).sql(SOLD).product_id) == ["p1"]
    assert len(lake.at(MIDNIGHT - timedelta(days=9999)).sql(SOLD)) == 0


def test_what_cannot_be_asked_is_said(home: Path) -> None:
    with pytest.raises(SettingsError, match="personal data in clear"):
        promolake.connect(home).sql("SELECT * FROM bronze.shop_orders")


def test_a_sample_is_never_put_into_a_lake_of_ones_own(home: Path) -> None:
    with pytest.raises(PromolakeError, match="holds another lake"):
        promolake.sample(home)
    assert list(promolake.connect(home).sql(SOLD).product_id) == ["p1"]


@pytest.mark.spark
def test_a_spark_session_has_the_same_names(home: Path, spark: object) -> None:
    found = promolake.connect(home).spark()
    try:
        assert found.sql(SOLD).first()["sales_amount"] == Decimal("0.1000")
        assert found.sql("SELECT product_id FROM gold.top_products WHERE rank = 1").first()["product_id"] == "p1"
    finally:
        found.sql("DROP DATABASE gold CASCADE")
