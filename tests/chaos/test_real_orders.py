"""Half a million lines of a real shop's orders, with kills in between, give the turnover plain Python computes, to the cent."""

from __future__ import annotations

import csv
import gzip
import shutil
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from random import Random

import pyarrow.compute as pc
import pytest

from chaos import points
from chaos.ground import REPOSITORY, Ground, Tally
from promolake.engine import kafka
from promolake.gold import gmv_per_minute, sales_per_product_per_minute
from promolake.local.broker import Broker
from promolake.producers.mapping import mapping
from promolake.producers.replay import replay
from promolake.silver.orders import FLOW as ORDERS

DATA = REPOSITORY.parent / "shared" / "data" / "order-online-retail"
LINES = 500_000
RECORDS_PER_BATCH = 50_000
KILLS = 5
ONLY = (f"--only={gmv_per_minute.TABLE.short}", f"--only={sales_per_product_per_minute.TABLE.short}")
TABLES = (ORDERS.bronze, ORDERS.table, ORDERS.quarantine, gmv_per_minute.TABLE, sales_per_product_per_minute.TABLE)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """The days of the real file under so many names that they have half a million lines: each name makes its lines other events."""
    if not DATA.is_dir():
        pytest.skip(f"the real orders are not at {DATA}")
    found, lines = [], 0
    for copy in range(1_000):
        for day in sorted(DATA.glob("*.csv.gz")):
            if lines >= LINES:
                return found
            found.append(tmp_path / f"{copy}-{day.name}")
            shutil.copy(day, found[-1])
            lines += sum(1 for _ in rows(day))
    raise AssertionError("the real file is empty")


def rows(file: Path) -> Iterator[dict[str, str]]:
    with gzip.open(file, "rt", encoding="utf-8", newline="") as text:
        yield from csv.DictReader(text)


def known_answer(files: list[Path]) -> tuple[int, Decimal, Decimal]:
    """Lines, turnover and refunds, row by row in exact decimals."""
    count, sold, refunded = 0, Decimal(0), Decimal(0)
    for file in files:
        for row in rows(file):
            count += 1
            amount = int(row["Quantity"]) * Decimal(row["UnitPrice"])
            if row["InvoiceNo"].startswith("C"):
                refunded -= abs(amount)
            elif int(row["Quantity"]) > 0 and Decimal(row["UnitPrice"]) > 0:
                sold += amount
    return count, sold, refunded


@pytest.mark.chaos
def test_half_a_million_real_order_lines_with_kills_in_between(
    files: list[Path], own_broker: Broker, tally: Tally, tmp_path: Path
) -> None:
    bootstrap, random = own_broker.status().bootstrap, Random(tally.seed)
    count, sold, refunded = known_answer(files)
    assert count >= LINES
    print(f"{count:,} lines: GMV {sold:,.2f}, refunds {refunded:,.2f}")
    kafka.ensure_topics(bootstrap, [ORDERS.topic.name])
    assert replay(files, mapping("online_retail", REPOSITORY / "conf" / "replay"), bootstrap).sent == count
    ground = Ground(tmp_path / "home", bootstrap, RECORDS_PER_BATCH, tally)
    around = [point for point in points.SCAN for table in TABLES if point.endswith(f":{table.name}") and not point.startswith("between")]
    for point in [points.BEFORE_COMMIT_LOG, *random.sample(around, KILLS - 1)]:
        ground.dies(point, *ONLY)
    ground.finishes(*ONLY)
    assert len(ground.replayed()) == KILLS
    gold = ground.lake.read(gmv_per_minute.TABLE, ["gmv_amount", "refund_amount"])
    assert (pc.sum(gold["gmv_amount"]).as_py(), pc.sum(gold["refund_amount"]).as_py()) == (sold, refunded)
    assert pc.sum(ground.lake.read(sales_per_product_per_minute.TABLE, ["sales_amount"])["sales_amount"]).as_py() == sold
    assert ground.lake.read(ORDERS.bronze, ["offset"]).num_rows == count == ground.read_count()
    tally.checked += count
