"""The real files through the real broker give the known answers of ../shared/data/README.md, computed there in plain pandas."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from day import on_topic
from end_to_end.conftest import DATA, RealLake
from promolake.cli import main
from promolake.engine.ledger import LEDGER
from promolake.engine.rebuilding import Rebuilder, Settler
from promolake.engine.verifying import Verifier, scope
from promolake.hallway import HALLWAY
from promolake.settings import pseudonym_key


def test_gmv_and_refunds_are_right_to_the_cent(real_lake: RealLake) -> None:
    asked = real_lake.ask("SELECT sum(gmv_amount), sum(refund_amount), sum(order_count), sum(gmv_amount + refund_amount) FROM gold.gmv_per_minute")
    assert asked == [(Decimal("353563.87"), Decimal("-8058.31"), 590, Decimal("345505.56"))]


def test_the_best_day_is_the_14th(real_lake: RealLake) -> None:
    days = real_lake.ask("SELECT CAST(window_start AS DATE), sum(gmv_amount) FROM gold.gmv_per_minute GROUP BY 1 ORDER BY 2 DESC LIMIT 1")
    assert [(str(day), amount) for day, amount in days] == [("2011-11-14", Decimal("114419.89"))]


def test_the_top_five_by_units_and_by_amount(real_lake: RealLake) -> None:
    top = "SELECT product_id, {} FROM gold.top_products WHERE span = 'whole promotion' AND ranked_by = '{}' AND currency = 'GBP' ORDER BY rank"
    units = real_lake.ask(top.format("unit_count", "units"))
    assert units == [("23084", 4194), ("22197", 2927), ("22086", 1908), ("85099B", 1515), ("22616", 1349)]
    amounts = real_lake.ask(top.format("sales_amount", "amount"))
    assert amounts[:3] == [("23084", Decimal("10517.85")), ("22086", Decimal("8802.80")), ("DOT", Decimal("7432.71"))]
    assert len(amounts) == 5


def test_the_rows_that_break_a_rule_are_the_46_without_a_quantity(real_lake: RealLake) -> None:
    ledger = real_lake.ask("SELECT topic, sum(read_count), sum(valid_count), sum(quarantined_count), sum(duplicate_count) FROM ops.ledger GROUP BY 1")
    books = {topic: counts for topic, *counts in ledger}
    assert books["shop.orders"] == [17778, 17732, 46, 0]
    assert all(read == valid + quarantined + duplicate for read, valid, quarantined, duplicate in books.values())
    assert sum(quarantined for topic, (_, _, quarantined, _) in books.items() if topic != "shop.orders") == 0


def test_traffic_is_right(real_lake: RealLake) -> None:
    asked = real_lake.ask("SELECT sum(request_count), sum(page_view_count), sum(byte_count) FROM gold.traffic_per_minute")
    assert asked == [(4525, 2083, 1202896060)]
    ips = real_lake.ask("SELECT ip, sum(request_count) AS n FROM gold.requests_per_ip_per_minute GROUP BY ip ORDER BY n DESC, ip LIMIT 5")
    assert ips == [("66.249.73.135", 258), ("75.97.9.59", 206), ("46.105.14.53", 193), ("50.16.19.13", 60), ("209.85.238.199", 58)]
    busiest = real_lake.ask(
        "SELECT ip, date_trunc('hour', window_start) AS hour, sum(request_count) AS n FROM gold.requests_per_ip_per_minute GROUP BY 1, 2 ORDER BY n DESC LIMIT 1"
    )
    assert [(ip, f"{hour:%d %H}", n) for ip, hour, n in busiest] == [("75.97.9.59", "18 08", 108)]
    statuses = dict(real_lake.ask("SELECT status, count(*) FROM silver.requests WHERE status IN (404, 500, 304) GROUP BY 1"))
    assert statuses == {404: 93, 500: 2, 304: 268}


def test_visitors_over_two_days_come_from_sketches_within_their_error(real_lake: RealLake) -> None:
    ((estimate,),) = real_lake.ask("SELECT hll_sketch_estimate(hll_union_agg(visitor_sketch)) FROM gold.traffic_per_minute")
    assert estimate == pytest.approx(890, rel=3 * 0.0163)
    visitors = real_lake.ask("SELECT window_start, visitor_count FROM gold.traffic_per_minute ORDER BY 1")
    lines = gzip.decompress(next((DATA / "access-elastic-apache").glob("*.gz")).read_bytes()).decode().splitlines()
    minutes: dict[str, set[str]] = {}
    for line in lines:
        minutes.setdefault(line.split("[")[1][:17], set()).add(line.split(" ")[0])
    assert {f"{start:%d/%b/%Y:%H:%M}": count for start, count in visitors} == {minute: len(ips) for minute, ips in minutes.items()}


def test_averages_and_percentiles_per_minute_are_exact(real_lake: RealLake) -> None:
    files = sorted((DATA / "metric-onlineboutique-nezha").glob("*_metric.csv.gz"))
    samples = pd.concat(pd.read_csv(file, usecols=["TimeStamp", "PodName", "CpuUsageRate(%)", "MemoryUsageRate(%)"]) for file in files)
    samples.columns = ["second", "host", "cpu", "mem"]
    samples["minute"] = samples["second"] // 60 * 60
    asked = real_lake.ask("SELECT epoch(window_start), host, sample_count, cpu_avg, cpu_p75, mem_avg, mem_p75 FROM gold.machine_metrics_per_minute")
    gold = {(int(second), host): figures for second, host, *figures in asked}
    everyone = samples.assign(host="*")
    expected = {}
    for (minute, host), rows in pd.concat([samples, everyone]).groupby(["minute", "host"]):
        expected[int(minute), host] = [f for name in ("cpu", "mem") for f in (rows[name].mean(), np.percentile(rows[name], 75))]
    assert gold.keys() == expected.keys()
    for key, (count, *figures) in gold.items():
        assert figures == pytest.approx(expected[key], rel=1e-12), key
        assert count > 0
    assert sum(figures[1] > 30 for (_, host), figures in expected.items() if host == "*") == 23
    assert sum(figures[2] > 30 for (_, host), figures in gold.items() if host == "*") == 23


def test_errors_are_counted_by_level_and_not_by_word(real_lake: RealLake) -> None:
    asked = dict(real_lake.ask("SELECT service = 'kafka0', sum(error_count) FROM gold.errors_per_minute WHERE error_count > 0 GROUP BY 1"))
    assert sum(asked.values()) == 5 + 15
    levels = dict(real_lake.ask("SELECT level, count(*) FROM silver.log_events GROUP BY 1"))
    assert levels == {"INFO": 216 + 2490, "WARN": 13 + 1, "ERROR": 15 + 5}


def test_searches_and_views_are_all_there(real_lake: RealLake) -> None:
    assert real_lake.ask("SELECT count(*), count(DISTINCT user_hash), count_if(trim(query) = '' OR query IS NULL) FROM silver.searches") == [(1863, 454, 240)]
    top = real_lake.ask("SELECT query, count(*) AS n FROM silver.searches WHERE query <> '' GROUP BY 1 ORDER BY n DESC LIMIT 2")
    assert top == [("change bowel habits", 24), ("running shoes", 22)]
    views = real_lake.ask("SELECT product_id, count(*) AS n FROM silver.views GROUP BY 1 ORDER BY n DESC LIMIT 2")
    assert views == [("OLJCESPC7Z", 15), ("2ZYFJ3GM2N", 12)]
    assert real_lake.ask("SELECT sum(search_count), sum(view_count), sum(order_count) FROM gold.funnel_per_minute") == [(1863, 67, 590)]


def test_every_paid_line_is_attributed_or_stands_alone(real_lake: RealLake) -> None:
    paid = real_lake.ask("SELECT count(*) FROM silver.orders WHERE status = 'PAID'")
    assert real_lake.ask("SELECT count(*) FROM gold.attributed_orders") == paid
    assert real_lake.ask("SELECT count(*) FROM gold.attributed_orders WHERE view_id IS NOT NULL OR search_id IS NOT NULL") == [(0,)]


def test_error_events_are_forwarded_to_their_topic(real_lake: RealLake) -> None:
    sent = {key: json.loads(value) for key, value in on_topic(real_lake.bootstrap, "app.logs.errors")}
    assert len(sent) == 20
    assert {event["level"] for event in sent.values()} == {"ERROR"}


def test_stream_and_rebuild_agree_row_for_row(real_lake: RealLake) -> None:
    key = pseudonym_key(real_lake.settings).get_secret_value().encode()
    lake = real_lake.lake
    rebuilder = Rebuilder(HALLWAY, real_lake.spark, lake, key, [])
    for flow in (*HALLWAY.ingests, *HALLWAY.metrics, *HALLWAY.joins):
        again = rebuilder.silver(flow) if flow in HALLWAY.ingests else rebuilder.gold(flow)
        columns = [name for name in flow.table.column_names if name != "visitor_sketch"]  # equal in what they estimate, not in bytes
        streamed = lake.read(flow.table, columns).sort_by([(name, "ascending") for name in (*flow.table.grain,)])
        rebuilt = again.select(*columns).toArrow().cast(streamed.schema).sort_by([(name, "ascending") for name in (*flow.table.grain,)])
        assert rebuilt.num_rows == streamed.num_rows, flow.table.name
        assert rebuilt.equals(streamed), flow.table.name


def test_the_real_lake_is_verified_by_one_command(
    real_lake: RealLake, lending: Callable[[], AbstractContextManager[None]], capsys: pytest.CaptureFixture[str]
) -> None:
    with lending():
        code = main(["--home", str(real_lake.settings.home), "verify", "--json"])
    answer = capsys.readouterr()
    assert code == 0, answer.out + answer.err
    told = json.loads(answer.out)
    assert told["agrees"] is True
    assert {check["result"] for check in told["checks"]} == {"agrees"}
    rows = {(check["check"], check["subject"]): check["rows"] for check in told["checks"]}
    assert rows["batch from bronze", "silver.orders"] == 17732
    assert rows["each record in one place", "shop.orders"] == 17778
    gold = {flow.table.name for flow in (*HALLWAY.metrics, *HALLWAY.joins)}
    assert {subject for check, subject in rows if check == "SQL from silver"} == gold


def test_replaying_a_file_again_changes_nothing_in_gold(real_lake: RealLake) -> None:
    tables = [flow.table for flow in (*HALLWAY.metrics, *HALLWAY.joins)]
    before = {table.name: real_lake.lake.read(table, table.column_names) for table in tables}
    real_lake.replay("nezha_app_log")
    real_lake.replay("excite_queries")
    real_lake.run_once()
    for table in tables:
        order = [(name, "ascending") for name in table.grain]
        assert real_lake.lake.read(table, table.column_names).sort_by(order).equals(before[table.name].sort_by(order)), table.name
    ((duplicates,),) = real_lake.ask("SELECT sum(duplicate_count) FROM ops.ledger")
    assert duplicates == 244 + 1863


def test_the_lake_is_right_after_the_replay_too(real_lake: RealLake) -> None:
    """The books, and silver of what came again; gold is what it was, and that was right."""
    key = pseudonym_key(real_lake.settings).get_secret_value().encode()
    settler = Settler(real_lake.lake, real_lake.settings.home / "state" / "settled.json")
    rebuilder = Rebuilder(HALLWAY, real_lake.spark, real_lake.lake, key, ())
    verifier = Verifier(HALLWAY, real_lake.spark, real_lake.lake, rebuilder, settler)
    checked = list(verifier.verify(scope(HALLWAY, (LEDGER.name, "silver.searches", "silver.log_events")), None, print))
    assert len(checked) == 5 * len(HALLWAY.ingests) + 2
    assert [found for found in checked if not found.agrees] == []
