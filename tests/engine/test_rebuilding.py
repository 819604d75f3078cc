"""A rebuilt table is what the stream would have made of bronze, and the stream goes on behind it without adding anything again."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from day import STREAMED, Day, rows_of, run_once, settings_for
from faults import Faults
from promolake.core.errors import FlowFailed, SettingsError
from promolake.engine.lakehouse import Lakehouse
from promolake.engine.query_log import scan_names
from promolake.engine.rebuilding import Rebuilder
from promolake.engine.runner import Runner, chosen
from promolake.hallway import HALLWAY
from promolake.settings import Settings, pseudonym_key

BY_NAME = {table.name: table for table in HALLWAY.tables}


def rebuild(settings: Settings, spark: SparkSession, *names: str) -> None:
    key = pseudonym_key(settings).get_secret_value().encode()
    Rebuilder(HALLWAY, spark, Lakehouse(settings.lake, lambda: spark), key, scan_names(settings.home)).rebuild(names, print)


def _die(*_: object) -> bool:
    """A run that does not try again, as one whose process is killed."""
    raise FlowFailed("killed")


@pytest.mark.spark
@pytest.mark.broker
@pytest.mark.parametrize(
    ("crashed", "in_batch", "rebuilt"),
    [
        ("gold.sales_per_product_per_minute", 1, ["gold.sales_per_product_per_minute"]),
        ("silver.orders", 1, ["gold.sales_per_product_per_minute", "silver.orders"]),
        ("bronze.shop_orders", 0, ["gold.sales_per_product_per_minute"]),
        ("bronze.shop_searches", 1, ["gold.funnel_per_minute"]),
    ],
)
def test_a_batch_that_crashed_before_a_rebuild_counts_once(
    undisturbed: Lakehouse,
    day: Day,
    spark: SparkSession,
    tmp_path: Path,
    faults: Faults,
    monkeypatch: pytest.MonkeyPatch,
    crashed: str,
    in_batch: int,
    rebuilt: list[str],
) -> None:
    """Bronze may hold the crashed batch while silver does not, and gold may hold it while bronze does not."""
    settings, flows = settings_for(tmp_path, 50), chosen(STREAMED, [name for name in rebuilt if name.startswith("gold")])
    Lakehouse(settings.lake).create(HALLWAY.tables)
    faults.arm(crashed, from_batch=in_batch)
    with monkeypatch.context() as dying:
        dying.setattr(Runner, "_given_up", _die)
        with pytest.raises(FlowFailed):
            run_once(settings, day.bootstrap, spark, flows)
    assert faults.fired == [(crashed, in_batch)]
    rebuild(settings, spark, *rebuilt)
    run_once(settings, day.bootstrap, spark, flows)
    lake = Lakehouse(settings.lake)
    for flow in flows.metrics:
        assert rows_of(lake, flow.table).equals(rows_of(undisturbed, flow.table)), flow.table.name
    for flow in flows.ingests:
        for table, column in ((flow.table, "event_id"), (flow.quarantine, "value")):
            rows = [sorted(one.read(table, [column])[column].to_pylist()) for one in (lake, undisturbed)]
            assert rows[0] == rows[1], table.name


def test_a_table_that_cannot_be_rebuilt_is_named_with_those_that_can(tmp_path: Path) -> None:
    rebuilder = Rebuilder(HALLWAY, None, Lakehouse(tmp_path), b"", [])
    with pytest.raises(SettingsError, match=r"No table gold\.nothing can be rebuilt\. Tables: gold\.attributed_orders, .*silver\.views"):
        rebuilder.rebuild(["silver.orders", "gold.nothing"], print)
    assert not Lakehouse(tmp_path).exists(BY_NAME["silver.orders"])
