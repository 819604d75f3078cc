"""`promolake tables` answers without a lake."""

from __future__ import annotations

import json
from pathlib import Path


def test_the_overview_names_everything_and_needs_no_home(promolake, home: Path) -> None:
    answer = promolake("tables")
    assert (answer.code, answer.err) == (0, "")
    assert all(name in answer.out for name in ("shop.orders", "bronze.shop_orders", "gold.top_products", "ops.ledger"))
    assert not home.exists()


def test_one_table_is_shown_with_its_grain_its_columns_and_where_it_comes_from(promolake) -> None:
    shown = promolake("tables", "gold.gmv_per_minute").out
    assert "one row per window_start, currency, category" in shown
    assert "silver.orders" in shown
    assert "decimal(28,4)" in shown
    (entry,) = json.loads(promolake("tables", "gold.gmv_per_minute", "--format", "json").out)
    assert (entry["written"], entry["feeds"]) == ("replace", ["gold.gmv_running"])
    assert promolake("tables", "gold.gmv_per_minute", "--format", "markdown").out.startswith("### gold.gmv_per_minute\n")


def test_a_name_that_is_none_is_refused_with_those_there_are(promolake) -> None:
    answer = promolake("tables", "gold.gmv_per_hour")
    assert answer.code == 2
    assert "There is no topic, table or view gold.gmv_per_hour. There are shop.searches, " in answer.err
