"""What the live page costs: a tile at thirty days of minutes, and a hundred viewers beside one."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from statistics import median

import duckdb
import pyarrow as pa
import pytest
from deltalake.writer import write_deltalake

from promolake.cli.page import _topics
from promolake.core.table import Table
from promolake.engine.arrow import arrow_schema
from promolake.engine.lateness import ALLOWED
from promolake.serving.page.board import TILES, Board
from promotion import MIDNIGHT, TABLES, Promotion, at, busy, busy_minute, sketch

DAYS = 30
PRODUCTS, ADDRESSES, CATEGORIES = 200, 300, 8  # a minute
TILE_MS = 50
SECONDS = 20
GROWTH = 1.3
REPOSITORY = Path(__file__).parents[2]


def full(value: str) -> str:
    return f"CAST({value} AS DECIMAL(28, 4))"


# Every table's figures for each minute m of a day; r is another number each time.
FIGURES = {
    "gmv_per_minute": (f"(SELECT 'c' || c AS category, u AS currency FROM range({CATEGORIES}) t(c), (VALUES ('CNY'), ('USD')) v(u))", {
        "gmv_amount": full("m % 97 * 31.5"), "refund_amount": full("-(m % 7)"), "ordered_amount": full("m % 97 * 40"),
        "order_count": "m % 9", "unit_count": "m % 11", "buyer_count": "m % 8", "sale_count": "m % 10",
    }),
    "sales_per_product_per_minute": (f"(SELECT 'p' || p AS product_id, 'CNY' AS currency, p FROM range({PRODUCTS}) t(p))", {
        "sales_amount": full("(m * p) % 997"), "unit_count": "p % 5", "sale_count": "1",
    }),
    "requests_per_ip_per_minute": (f"(SELECT '203.0.' || i // 256 || '.' || i % 256 AS ip FROM range({ADDRESSES}) t(i))", {
        "request_count": "m % 13", "page_view_count": "m % 5", "failed_count": "0",
    }),
    "traffic_per_minute": ("(SELECT 1)", {
        "request_count": "m % 900", "page_view_count": "m % 700", "visitor_count": "9", "failed_count": "1", "byte_count": "1",
        "visitor_sketch": "sketches[m % len(sketches) + 1]",
    }),
    "machine_metrics_per_minute": ("(SELECT '*' AS host)", {
        f"{name}_{kind}": "m % 60" for name in ("cpu", "mem", "io") for kind in ("avg", "p75")
    } | {"sample_count": "60"}),
    "errors_per_minute": ("(SELECT 's' || s AS service FROM range(6) t(s))", {"error_count": "m % 3", "event_count": "m % 100"}),
    "funnel_per_minute": ("(SELECT 1)", {
        f"{name}_count": "m % 50" for name in ("search", "view", "order", "searcher", "viewer", "buyer")
    }),
}  # fmt: skip


def day_of(table: Table, day: int, sketches: list[bytes]) -> pa.Table:
    each, figures = FIGURES[table.short]
    start = f"TIMESTAMPTZ '{(MIDNIGHT + timedelta(days=day)).isoformat()}' + to_minutes(m)"
    names = {"window_start": start, "window_end": f"{start} + INTERVAL 1 MINUTE"} | figures
    columns = ", ".join(f"{names.get(name, name)} AS {name}" for name in table.column_names)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        given = "" if "visitor_sketch" not in figures else ", (SELECT $sketches AS sketches)"
        question = f"SELECT {columns} FROM range(1440) minutes(m), {each}{given}"
        found = connection.sql(question, params={"sketches": sketches} if given else None).to_arrow_table()
    return found.cast(arrow_schema(table).remove_metadata())


@pytest.mark.bench
def test_a_tile_takes_less_than_50_ms_at_thirty_days_of_minutes(tmp_path: Path) -> None:
    promotion = Promotion(tmp_path / "lake")
    sketches = [sketch(f"198.51.{n}.{i}" for i in range(ADDRESSES)) for n in range(50)]
    rows = 0
    for day in range(DAYS):
        for table in TABLES.values():
            made = day_of(table, day, sketches)
            rows += made.num_rows
            write_deltalake(promotion.root / "gold" / table.short, made, mode="append")
    board = Board(promotion.root, _topics(), ALLOWED)
    last = DAYS * 1440
    promotion.batch(busy_minute(last), at(last))
    began = time.perf_counter()
    board.newest()
    first = time.perf_counter() - began
    cuts, tiles = [], {tile.name: [] for tile in TILES}
    for minute in range(last, last + 10):
        promotion.batch(busy_minute(minute), at(minute))
        began = time.perf_counter()
        board.newest()
        cuts.append(time.perf_counter() - began)
        for tile in TILES:
            board._relations._answers.clear()
            began = time.perf_counter()
            board._relations.rows(tile.name, tile.relation)
            tiles[tile.name].append(time.perf_counter() - began)
    took = {name: median(times) * 1000 for name, times in tiles.items()}
    said = ", ".join(f"{name} {ms:.1f} ms" for name, ms in took.items())
    print(f"\n{rows:,} rows: first cut {first:.1f} s, each further one {median(cuts) * 1000:.0f} ms; {said}")
    assert max(took.values()) < TILE_MS


@pytest.mark.bench
def test_a_hundred_viewers_cost_hardly_more_than_one(tmp_path: Path) -> None:
    """CPU seconds of the page while a micro-batch is committed every second, in turn with one viewer and with a hundred."""
    home = tmp_path / "home"
    promotion = Promotion(home / "lake")
    promotion.batch(busy(range(60)), at(59.5))
    command = [sys.executable, "-m", "promolake.cli", "--home", str(home), "serve", "--port", "0"]
    environment = os.environ | {"PROMOLAKE_CONF": str(REPOSITORY / "conf")}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    stop = threading.Event()

    def sell() -> None:
        minute = 60
        while not stop.wait(1):
            promotion.batch(busy_minute(minute), at(minute))
            minute += 1

    seller = threading.Thread(target=sell)
    try:
        port = int(server.stdout.readline().rstrip("/\n").rpartition(":")[2])
        seller.start()
        asyncio.run(watched(port, server.pid, 1, 5))  # warm
        costs = {viewers: asyncio.run(watched(port, server.pid, viewers, SECONDS)) for viewers in (1, 100)}
    finally:
        stop.set()
        seller.join()
        with server:
            server.terminate()
    (one, _), (hundred, frames) = costs[1], costs[100]
    said = f"{one:.3f} CPU seconds a second with one viewer, {hundred:.3f} with a hundred: {hundred / one:.2f} times"
    print(f"\n{said}; each of the hundred was sent {frames / 100:.0f} frames in {SECONDS} s")
    assert hundred < one * GROWTH, said


async def watched(port: int, pid: int, viewers: int, seconds: float) -> tuple[float, int]:
    """CPU seconds per second of the process while so many viewers look on, and the frames they were sent in all."""
    frames = 0

    async def look() -> None:
        nonlocal frames
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
        writer.write(b"GET /api/live HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n")  # as browsers do
        try:
            while chunk := await reader.read(2**16):
                frames += len(chunk) > 500  # others are beats
        finally:
            writer.close()

    tasks = [asyncio.create_task(look()) for _ in range(viewers)]
    await asyncio.sleep(2)  # what it takes to arrive does not count
    frames, before, began = 0, cpu(pid), time.monotonic()
    await asyncio.sleep(seconds)
    used = (cpu(pid) - before) / (time.monotonic() - began)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return used, frames


def cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
