"""The shipped mappings on real files give the answers known from plain pandas (../shared/data/README.md)."""

import json
import re
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from promolake.producers.mapping import mapping
from promolake.producers.message import Message
from promolake.producers.replay import ReplayReport, messages

REPO = Path(__file__).parents[2]
DATA = REPO.parent / "shared" / "data"


def replayed(name: str, pattern: str) -> tuple[list[Message], ReplayReport]:
    files = sorted(DATA.glob(pattern))
    if not files:
        pytest.skip(f"the real files {DATA}/{pattern} are not on this machine")
    report = ReplayReport()
    sent = list(messages(files, mapping(name, REPO / "conf" / "replay"), report))
    assert len({dict(message.headers).get("event_id") or json.loads(message.value)["event_id"] for message in sent}) == len(sent)
    assert report.unmapped == 0, report.listed
    return sent, report


def payloads(sent: list[Message]) -> list[dict]:
    return [json.loads(message.value, parse_float=Decimal) for message in sent]


def test_online_retail_has_the_known_gmv_and_refunds_to_the_cent() -> None:
    sent, _ = replayed("online_retail", "order-online-retail/*.csv.gz")
    lines = payloads(sent)
    amounts = [(line, line["quantity"] * Decimal(line["unit_price"])) for line in lines]
    sales = [(line, amount) for line, amount in amounts if line["status"] == "PAID" and line["quantity"] > 0 and amount > 0]
    units: Counter[str] = Counter()
    for line, _ in sales:
        units[line["product_id"]] += line["quantity"]
    assert len(lines) == 17_778
    assert sum(amount for _, amount in sales) == Decimal("353563.87")
    assert -sum(abs(amount) for line, amount in amounts if line["status"] == "CANCELLED") == Decimal("-8058.31")
    assert sum(line["status"] == "CANCELLED" for line in lines) == 244
    assert len({line["order_id"] for line in lines}) == 789
    assert len({line["order_id"] for line, _ in sales}) == 590
    assert len({line["user_id"] for line in lines} - {None}) == 534
    assert sum(line["user_id"] is None for line in lines) == 4_570
    assert units.most_common(3) == [("23084", 4194), ("22197", 2927), ("22086", 1908)]
    assert {line["currency"] for line in lines} == {"GBP"}
    assert all(message.key == line["order_id"].encode() for message, line in zip(sent, lines, strict=True))
    assert lines[0]["event_time"] == "2011-11-14T08:10:00Z"
    assert lines[0]["event_id"] == "order-online-retail/2011-11-14.csv.gz:2"
    assert [line["line_number"] for line in lines[:3]] == [1, 2, 3]
    assert lines[0]["user_id"] == "18211"


def test_apache_lines_are_sent_as_they_stand_and_keyed_by_address() -> None:
    sent, _ = replayed("apache_combined", "access-elastic-apache/*.gz")
    top = Counter(message.key for message in sent).most_common(3)
    assert len(sent) == 4_525
    assert all(message.value.startswith(message.key or b"?") for message in sent)
    assert top == [(b"66.249.73.135", 258), (b"75.97.9.59", 206), (b"46.105.14.53", 193)]
    assert len({message.key for message in sent}) == 890
    assert sent[0].headers == (("event_id", b"access-elastic-apache/apache_logs_2015-05-17_18.log.gz:1"),)


def test_pod_metrics_have_the_known_means() -> None:
    samples = payloads(replayed("nezha_metrics", "metric-onlineboutique-nezha/*.csv.gz")[0])
    assert len(samples) == 2_160
    assert len({sample["host"] for sample in samples}) == 9
    assert round(sum(sample["cpu"] for sample in samples) / len(samples), 4) == Decimal("17.2112")
    assert round(sum(sample["mem"] for sample in samples) / len(samples), 4) == Decimal("20.8740")
    assert sum(sample["cpu"] > 80 for sample in samples) == 52
    assert samples[0]["event_time"] == "2022-08-22T03:51:19Z"


def test_a_nab_file_is_one_host_named_after_it() -> None:
    samples = payloads(replayed("nab_metric", "metric-nab/realAWSCloudwatch/ec2_cpu*.csv.gz")[0])
    assert {sample["host"] for sample in samples} == {
        "ec2_cpu_utilization_fe7f93",
        "ec2_cpu_utilization_24ae8d",
        "ec2_cpu_utilization_5f5533",
    }
    assert len(samples) == 3 * 4_032
    assert Decimal("51.846000000000004") in {sample["cpu"] for sample in samples}


def test_kafka_log_lines_become_events_with_their_continuation_lines() -> None:
    sent, report = replayed("kafka_log4j", "applog-kafka-elastic/kafka0/server.log*.gz")
    assert len(sent) == report.rows == 2_496
    assert sum(message.value.count(b"\n") + 1 for message in sent) == 2_649
    levels = Counter(re.match(rb"\[[^]]*\] (\w+)", message.value)[1] for message in sent)
    assert levels[b"ERROR"] == 5
    assert levels[b"WARN"] == 1
    assert {message.key for message in sent} == {b"kafka"}


def test_train_ticket_logs_keep_the_whole_log_column_and_are_keyed_by_service() -> None:
    sent, _ = replayed("nezha_app_log", "applog-trainticket-nezha/*.csv.gz")
    levels = Counter(re.match(r"[\d:.]+ +(\w+)", json.loads(message.value)["log"])[1] for message in sent)
    assert levels == {"INFO": 216, "ERROR": 15, "WARN": 13}
    assert b"ts-order-other-service" in {message.key for message in sent}
    assert not any(re.search(rb"-[0-9a-z]{5}$", message.key or b"") for message in sent if b"service" not in (message.key or b"")[-7:])


def test_shop_views_are_the_completed_product_pages() -> None:
    views = payloads(replayed("nezha_shop_views", "shop-onlineboutique-nezha/*.csv.gz")[0])
    products = Counter(view["product_id"] for view in views)
    assert len(views) == 67
    assert products["OLJCESPC7Z"] == 15
    assert products["2ZYFJ3GM2N"] == 12
    assert all(view["user_id"] == view["session_id"] and view["event_time"].endswith("Z") for view in views)


def test_excite_searches_keep_the_empty_queries() -> None:
    searches = payloads(replayed("excite_queries", "search-excite/*.gz")[0])
    queries = Counter(search["query"] for search in searches)
    assert len(searches) == 1_863
    assert len({search["user_id"] for search in searches}) == 454
    assert queries[""] == 240
    assert len({query.strip() for query in queries} - {""}) == 936
    assert queries["change bowel habits"] == 24
    assert queries["running shoes"] == 22
    assert searches[0]["event_time"] == "1997-09-16T10:54:32Z"
