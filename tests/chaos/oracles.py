"""What must hold after every fault: each a second computation, none of them the absence of an error."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import pyarrow as pa

from chaos.ground import Tally
from chaos.traffic import NAMES, Sent
from day import assert_ranges_meet, on_topic
from promolake.cli.agreement import compared, held, promised
from promolake.core.table import Table
from promolake.engine import kafka
from promolake.engine.lakehouse import Lakehouse
from promolake.gold import attributed_orders, gmv_per_minute, requests_per_ip_per_minute, sales_per_product_per_minute
from promolake.hallway import HALLWAY

Position = tuple[str, int, int]


def assert_whole(lake: Lakehouse, bootstrap: str, sent: Sent, tally: Tally) -> None:
    """Nothing lost, nothing repeated, by offset and by event id; gold as the generator's own books have it."""
    lost, repeated = by_offset(lake, bootstrap)
    missing, again = by_event_id(lake, sent)
    tally.lost += len(lost) + len(missing)
    tally.repeated += len(repeated) + len(again)
    tally.checked += sent.count
    assert (lost, repeated) == ([], []), "by offset"
    assert (missing, again) == ([], []), "by event id"
    assert_bytes_are_those_sent(lake, sent)
    assert_books_are_whole(lake, bootstrap)
    assert_quarantined_under_their_reasons(lake, sent)
    assert_gold_is_what_was_sent(lake, sent)


def by_offset(lake: Lakehouse, bootstrap: str) -> tuple[list[Position], list[Position]]:
    """Positions of the broker that are not in bronze, and those that are there twice; also what no table or two tables account for."""
    ends = kafka.end_offsets(bootstrap, NAMES)
    on_broker = {(topic, partition, n) for (topic, partition), end in ends.items() for n in range(end)}
    lost: list[Position] = []
    repeated: list[Position] = []
    for flow in HALLWAY.ingests:
        topic = flow.topic.name
        bronze = Counter(_positions(lake, flow.bronze, topic))
        kept = Counter(_positions(lake, flow.table, topic) + _positions(lake, flow.quarantine, topic))
        mine = {position for position in on_broker if position[0] == topic}
        lost += sorted(mine - bronze.keys())
        repeated += sorted(position for found in (bronze, kept) for position, times in found.items() if times > 1)
        assert bronze.keys() <= mine, "bronze holds what no broker has"
        assert kept.keys() <= bronze.keys()
    return lost, repeated


def by_event_id(lake: Lakehouse, sent: Sent) -> tuple[list[str], list[str]]:
    """Event ids that were sent and are not in silver, and those that are there twice."""
    missing: list[str] = []
    repeated: list[str] = []
    for flow in HALLWAY.ingests:
        found = Counter(lake.read(flow.table, ["event_id"])["event_id"].to_pylist())
        missing += sorted(sent.ids[flow.topic.name] - found.keys())
        repeated += sorted(name for name, times in found.items() if times > 1)
        assert found.keys() <= sent.ids[flow.topic.name], f"{flow.table.name} holds what nobody sent"
    return missing, repeated


def assert_bytes_are_those_sent(lake: Lakehouse, sent: Sent) -> None:
    for flow in HALLWAY.ingests:
        assert Counter(lake.read(flow.bronze, ["value"])["value"].to_pylist()) == sent.values[flow.topic.name], flow.bronze.name


def assert_books_are_whole(lake: Lakehouse, bootstrap: str) -> None:
    """The ledger has every offset once, without hole or overlap, and its counts are those of the tables."""
    rows = assert_ranges_meet(lake)
    lasts = {(row["topic"], row["partition"]): row["last_offset"] + 1 for row in rows}
    assert lasts == {place: end for place, end in kafka.end_offsets(bootstrap, NAMES).items() if end}
    for flow in HALLWAY.ingests:
        mine = [row for row in rows if row["topic"] == flow.topic.name]
        for table, count in ((flow.bronze, "read_count"), (flow.table, "valid_count"), (flow.quarantine, "quarantined_count")):
            assert lake.read(table, ["ingested_at"]).num_rows == sum(row[count] for row in mine), table.name


def assert_quarantined_under_their_reasons(lake: Lakehouse, sent: Sent) -> None:
    for flow in HALLWAY.ingests:
        found = Counter(reason for (reason,) in lake.read(flow.quarantine, ["violations"])["violations"].to_pylist())
        assert found == sent.reasons[flow.topic.name], flow.quarantine.name


def assert_gold_is_what_was_sent(lake: Lakehouse, sent: Sent) -> None:
    truth = sent.truth.report()
    assert [row for row in compared(promised(truth), {}, held(lake)) if not row.agrees] == []
    minutes = lake.read(gmv_per_minute.TABLE, ["window_start", "currency", "gmv_amount"]).to_pylist()
    gmv: Counter[tuple[str, str]] = Counter()
    for row in minutes:
        gmv[f"{row['window_start']:%Y-%m-%dT%H:%M:%SZ}", row["currency"]] += row["gmv_amount"]
    expected = {(m, c): Decimal(amount) for m, amounts in truth["gmv_amount_per_minute"].items() for c, amount in amounts.items()}
    assert {place: amount for place, amount in gmv.items() if amount} == expected
    sales: Counter[tuple[str, str]] = Counter()
    for row in lake.read(sales_per_product_per_minute.TABLE, ["currency", "product_id", "sales_amount"]).to_pylist():
        sales[row["currency"], row["product_id"]] += row["sales_amount"]
    products = truth["sales_per_product"].items()
    sold = {(currency, name): Decimal(figures["sales_amount"]) for currency, found in products for name, figures in found.items()}
    assert {place: amount for place, amount in sales.items() if amount} == sold
    ips: Counter[str] = Counter()
    for row in lake.read(requests_per_ip_per_minute.TABLE, ["ip", "request_count"]).to_pylist():
        ips[row["ip"]] += row["request_count"]
    assert ips == truth["request_count_per_ip"]


def assert_every_sale_is_attributed_once(lake: Lakehouse) -> None:
    paid = lake.read(attributed_orders.FLOW.reads[0].table, ["event_id"], "status = 'PAID'")["event_id"].to_pylist()
    assert sorted(lake.read(attributed_orders.TABLE, ["event_id"])["event_id"].to_pylist()) == sorted(paid)
    assert paid


def assert_gold_is_equal(lake: Lakehouse, control: Lakehouse) -> None:
    """Every gold table as an undisturbed run left it. Sketches are left out: equal in what they estimate, not in their bytes."""
    for flow in (*HALLWAY.metrics, *HALLWAY.joins):
        assert _by_grain(lake, flow.table).equals(_by_grain(control, flow.table)), flow.table.name


def sold(sent: Sent) -> Decimal:
    """All sales in the generator's books, whatever the currency."""
    return sum((Decimal(figures["gmv_amount"]) for figures in sent.truth.report()["orders"].values()), Decimal(0))


def error_ids(lake: Lakehouse) -> set[str]:
    return set(lake.read(HALLWAY.forwards[0].reads, ["event_id"], "level = 'ERROR'")["event_id"].to_pylist())


def forwarded(bootstrap: str) -> Counter[str]:
    """How often each error event was forwarded, by its id."""
    return Counter(key for key, _ in on_topic(bootstrap, HALLWAY.forwards[0].topic))


def _positions(lake: Lakehouse, table: Table, topic: str) -> list[Position]:
    rows = lake.read(table, ["partition", "offset"])
    return [(topic, partition, offset) for partition, offset in zip(*(column.to_pylist() for column in rows.columns), strict=True)]


def _by_grain(lake: Lakehouse, table: Table) -> pa.Table:
    rows = lake.read(table, [name for name in table.column_names if name != "visitor_sketch"])
    return rows.sort_by([(name, "ascending") for name in table.grain])
