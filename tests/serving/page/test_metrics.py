"""/metrics says what the page says, in Prometheus's words."""

from __future__ import annotations

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from promolake.engine.ledger import FORWARDS
from promolake.serving.page.metrics import exposed
from serving.page.home import seconds
from serving.page.world import World

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(world: World) -> Samples:
    families = text_string_to_metric_families(exposed(world.now()).decode())
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


def value(world: World, name: str, **labels: str) -> float | None:
    return samples(world).get((f"promolake_{name}", frozenset(labels.items())))


def test_figures_are_those_of_the_page(world: World) -> None:
    assert value(world, "run_alive") == 1
    assert value(world, "kafka_answers") == 1
    assert value(world, "records_total", topic="shop.orders", fate="quarantined") == 11
    assert value(world, "quarantine_records", topic="shop.orders") == 10
    assert value(world, "late_records_total", topic="shop.orders") == 2
    assert value(world, "lag_records", topic="shop.orders") == 30
    assert value(world, "newest_event_timestamp_seconds", topic="shop.orders") == seconds(7).timestamp()
    assert value(world, "query_batches_total", query="main") == 3
    assert value(world, "query_last_batch_duration_seconds", query="main") == 3
    assert value(world, "query_last_batch_timestamp_seconds", query="main") == seconds(7).timestamp()
    assert value(world, "quarantined_last_day_records", topic="shop.orders", rule="currency_code") == 1
    assert value(world, "table_version", table="gold.gmv_per_minute") == 1
    assert value(world, "alerts", alert="IpFlood", status="firing") == 1
    assert value(world, "notifications", channel="wecom", state="delivered") == 2
    assert value(world, "audit_expectations", severity="critical", result="broken") == 1
    assert value(world, "home_bytes", directory="lake") == 2_000_000
    assert value(world, "build_info", promolake="0.1.0", spark="4.2.0") == 1


def test_what_was_forwarded_is_counted_by_who_sent_it(world: World) -> None:
    book = {"query": "main", "flow": "forwarded_errors", "topic": "app.logs.errors", "ingested_at": seconds(7)}
    world.lake.add(FORWARDS, [book | {"batch_id": n, "due_count": 5, "sent_count": n} for n in (0, 2)])
    assert value(world, "forwarded_events_total", topic="app.logs.errors", by="lane") == 8
    assert value(world, "forwarded_events_total", topic="app.logs.errors", by="micro_batch") == 2


def test_what_is_not_known_has_no_sample(empty: World) -> None:
    empty.change(ends=None, running=())
    assert value(empty, "lag_records", topic="shop.orders") is None
    assert value(empty, "newest_event_timestamp_seconds", topic="shop.orders") is None
    assert value(empty, "audit_timestamp_seconds") is None
    assert value(empty, "forwarded_events_total", topic="app.logs.errors", by="lane") is None
    assert (value(empty, "kafka_answers"), value(empty, "run_alive")) == (0, 0)


def test_a_ledger_that_cannot_be_read_is_no_counter_of_0(world: World) -> None:
    for file in world.lake.root.joinpath("ops", "ledger").glob("*.parquet"):
        file.unlink()
    assert value(world, "records_total", topic="shop.orders", fate="valid") is None
    assert value(world, "late_records_total", topic="shop.orders") is None
    assert value(world, "quarantine_records", topic="shop.orders") is None
    assert value(world, "table_version", table="ops.ledger") == 1


def test_a_counter_never_falls_when_records_are_let_out_of_quarantine(world: World) -> None:
    assert value(world, "records_total", topic="shop.orders", fate="quarantined") > value(world, "quarantine_records", topic="shop.orders")


def test_names_keep_the_conventions(world: World) -> None:
    for family in text_string_to_metric_families(exposed(world.now()).decode()):
        assert re.fullmatch(r"promolake_[a-z_]+", family.name)
        assert family.documentation.endswith(".")
        if family.type == "counter":
            assert {one.name for one in family.samples} <= {f"{family.name}_total"}
        assert not re.search(r"_(ms|minutes|kb|mb)$", family.name)


def test_no_label_holds_an_address_or_what_an_alert_says(world: World) -> None:
    text = exposed(world.now()).decode()
    assert "192.0.2.1" not in text
    assert "script" not in text


@pytest.mark.parametrize("name", ["topic", "table", "query", "rule", "alert"])
def test_labels_are_few(world: World, name: str) -> None:
    assert len({dict(labels).get(name) for _, labels in samples(world)}) < 50
