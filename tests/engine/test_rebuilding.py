"""A rebuilt table is what the stream would have made of bronze, and the stream goes on behind it without adding anything again."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from day import STREAMED, Day, rows_of, run_once, settings_for
from faults import Faults
from promolake.cli.jobs import _apps
from promolake.core.errors import FlowFailed, SettingsError
from promolake.engine.lakehouse import Lakehouse
from promolake.engine.rebuilding import Rebuilder
from promolake.engine.runner import chosen
from promolake.hallway import HALLWAY
from promolake.settings import Settings, pseudonym_key

BY_NAME = {table.name: table for table in HALLWAY.tables}


def rebuild(settings: Settings, spark: SparkSession, *names: str) -> None:
    key = pseudonym_key(settings).get_secret_value().encode()
    Rebuilder(HALLWAY, spark, Lakehouse(settings.lake, lambda: spark), key, _apps(settings)).rebuild(names, print)


@pytest.mark.spark
@pytest.mark.broker
@pytest.mark.parametrize(
    ("crashed", "rebuilt"),
    [
        ("gold.sales_per_product_per_minute", "gold.sales_per_product_per_minute"),
        ("silver.orders", "gold.sales_per_product_per_minute"),
        ("silver.orders", "silver.orders"),
        ("bronze.shop_searches", "gold.funnel_per_minute"),
    ],
)
def test_a_batch_that_crashed_before_a_rebuild_is_not_added_by_its_replay(
    undisturbed: Lakehouse, day: Day, spark: SparkSession, tmp_path: Path, faults: Faults, crashed: str, rebuilt: str
) -> None:
    """Bronze may hold the crashed batch already: then the rebuilt table does, too."""
    settings, flows = settings_for(tmp_path, 150), chosen(STREAMED, ["sales_per_product_per_minute", "funnel_per_minute"])
    Lakehouse(settings.lake).create(HALLWAY.tables)
    faults.arm(crashed, from_batch=1)
    with pytest.raises(FlowFailed):
        run_once(settings, day.bootstrap, spark, flows)
    assert faults.fired == [(crashed, 1)]
    rebuild(settings, spark, rebuilt)
    run_once(settings, day.bootstrap, spark, flows)
    lake = Lakehouse(settings.lake)
    for name in ("gold.sales_per_product_per_minute", "gold.funnel_per_minute"):
        assert rows_of(lake, BY_NAME[name]).equals(rows_of(undisturbed, BY_NAME[name])), name
    for flow in flows.ingests:
        ids = [sorted(one.read(flow.table, ["event_id"])["event_id"].to_pylist()) for one in (lake, undisturbed)]
        assert ids[0] == ids[1], flow.table.name


def test_a_table_that_cannot_be_rebuilt_is_named_with_those_that_can(tmp_path: Path) -> None:
    rebuilder = Rebuilder(HALLWAY, None, Lakehouse(tmp_path), b"", [])
    with pytest.raises(SettingsError, match=r"No table gold\.nothing can be rebuilt\. Tables: gold\.attributed_orders, .*silver\.views"):
        rebuilder.rebuild(["silver.orders", "gold.nothing"], print)
    assert not Lakehouse(tmp_path).exists(BY_NAME["silver.orders"])
