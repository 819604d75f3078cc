"""All figures on a screen belong to one micro-batch, now and at any earlier time."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.writer import write_deltalake

from promolake.core.errors import SettingsError
from promolake.engine.lateness import ALLOWED
from promolake.gold.gmv_per_minute import TABLE as GMV
from promolake.hallway import HALLWAY
from promolake.serving.page.board import Board
from promolake.serving.sql import Reader
from promotion import TOPICS, Promotion, at, busy, busy_minute, filled, sale, sold

NAMES = [metric.table.name for metric in HALLWAY.metrics]


@pytest.fixture
def board(promotion: Promotion) -> Board:
    return Board(promotion.root, dict.fromkeys(NAMES, TOPICS), ALLOWED)


def paid(screen: dict[str, Any]) -> Decimal | None:
    rows = screen["tiles"]["gmv"]["rows"]
    return rows[0]["gmv_amount"] if rows else None


def of_products(screen: dict[str, Any]) -> Decimal:
    return sum((row["sales_amount"] for row in screen["tiles"]["top_products"]["rows"]), Decimal(0))


# --- one micro-batch -------------------------------------------------------------------------------------------------------------


def test_before_the_first_batch_there_is_no_figure(board: Board) -> None:
    screen = board.newest()
    assert screen["batch"] == -1
    assert not any(tile["rows"] for tile in screen["tiles"].values())


def test_a_lake_that_is_not_there_yet_shows_nothing(tmp_path: Path) -> None:
    board = Board(tmp_path / "none", {}, ALLOWED)
    assert (board.newest()["tiles"], board.has_news()) == ({}, False)
    promotion = Promotion(tmp_path / "none")
    promotion.batch(busy_minute(0), at(0.5))
    assert board.has_news()
    assert board.newest()["batch"] == 0


def test_gold_of_a_batch_that_is_not_in_the_ledger_is_not_shown(promotion: Promotion, board: Board) -> None:
    promotion.batch({"gmv_per_minute": [sale(0, "CNY", "10")], "sales_per_product_per_minute": [sold(0, "p", "10")]})
    promotion.gold({"gmv_per_minute": [sale(1, "CNY", "5")]})  # one table of the next batch is committed, the other not yet
    screen = board.newest()
    assert (paid(screen), of_products(screen), screen["batch"]) == (Decimal(10), Decimal(10), 0)
    promotion.gold({"sales_per_product_per_minute": [sold(1, "p", "5")]})
    assert paid(board.newest()) == Decimal(10)
    promotion.book()
    screen = board.newest()
    assert (paid(screen), of_products(screen), screen["batch"]) == (Decimal(15), Decimal(15), 1)


def test_both_commits_of_a_batch_are_left_out(promotion: Promotion, board: Board) -> None:
    """Rows of a minute the table has are merged, those of newer minutes appended: two commits."""
    promotion.batch({"gmv_per_minute": [sale(0, "CNY", "10"), sale(1, "CNY", "1")]})
    promotion.gold({"gmv_per_minute": [sale(1, "CNY", "7"), sale(2, "CNY", "2")]})
    assert paid(board.newest()) == Decimal(11)
    promotion.book()
    assert paid(board.newest()) == Decimal(19)


def test_maintenance_belongs_to_no_batch(promotion: Promotion, board: Board) -> None:
    for minute in range(3):
        promotion.batch({"gmv_per_minute": [sale(minute, "CNY", "10")]})
    promotion.gold({"gmv_per_minute": [sale(3, "CNY", "5")]})
    DeltaTable(promotion.root / "gold" / GMV.short).optimize.compact()
    assert paid(board.newest()) == Decimal(30)  # as before the unfinished batch, though files were put together since
    promotion.book()
    assert paid(board.newest()) == Decimal(35)


def test_a_join_on_its_own_trigger_is_no_part_of_the_batch(promotion: Promotion, board: Board) -> None:
    promotion.batch({"gmv_per_minute": [sale(0, "CNY", "10")]})
    path = promotion.root / "gold" / GMV.short
    transaction = CommitProperties(app_transactions=[Transaction("attributed_orders@77", 900)])
    write_deltalake(path, filled(GMV, [sale(1, "CNY", "1")]), mode="append", commit_properties=transaction)
    assert paid(board.newest()) == Decimal(11)


def test_a_query_begun_anew_counts_its_batches_anew(promotion: Promotion, board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    for minute in range(3):
        promotion.batch({"gmv_per_minute": [sale(minute, "CNY", "10")]})
    monkeypatch.setattr("promotion.APP", "main@another")
    promotion.batches = 0
    promotion.gold({"gmv_per_minute": [sale(3, "CNY", "5")]})
    assert paid(board.newest()) == Decimal(30)
    promotion.book()
    screen = board.newest()
    assert (paid(screen), screen["batch"]) == (Decimal(35), 0)


def test_every_other_cut_has_another_id(promotion: Promotion, board: Board) -> None:
    ids = {board.newest()["cut"]}
    for minute in range(3):
        promotion.batch({"gmv_per_minute": [sale(minute, "CNY", "10")]})
        assert board.has_news()
        ids.add(board.newest()["cut"])
        assert not board.has_news()
    assert len(ids) == 4


# --- at another time ---------------------------------------------------------------------------------------------------------------


def test_the_screen_of_an_earlier_time_is_what_it_was_then(promotion: Promotion, board: Board) -> None:
    shown = []
    for minute in range(4):
        promotion.batch(busy_minute(minute), at(minute + 0.5))
        shown.append((datetime.now(UTC), board.newest()))
    promotion.gold({"gmv_per_minute": [sale(9, "CNY", "1")]})  # not in the ledger
    for moment, screen in shown:
        assert board.at(moment)["tiles"] == screen["tiles"]
    assert board.newest()["tiles"] == shown[-1][1]["tiles"]  # looking back has changed nothing


def test_before_the_lake_there_was_nothing_to_show(promotion: Promotion, board: Board) -> None:
    promotion.batch({"gmv_per_minute": [sale(0, "CNY", "10")]})
    assert board.at(datetime.now(UTC) - timedelta(days=1))["tiles"] == {}


def test_it_is_said_how_far_history_reaches_back(promotion: Promotion, board: Board) -> None:
    for minute in range(3):
        promotion.batch({"gmv_per_minute": [sale(minute, "CNY", "10")]})
    table = DeltaTable(promotion.root / "gold" / GMV.short)
    table.create_checkpoint()
    for version in range(2):
        (promotion.root / "gold" / GMV.short / "_delta_log" / f"{version:020}.json").unlink()
    with pytest.raises(SettingsError, match=r"The history of gold\.gmv_per_minute reaches back to .* UTC only"):
        board.at(datetime.now(UTC) - timedelta(hours=1))


def test_it_is_said_when_the_files_of_then_are_gone(promotion: Promotion, board: Board) -> None:
    promotion.batch({"gmv_per_minute": [sale(0, "CNY", "10")]})
    then = datetime.now(UTC)
    promotion.batch({"gmv_per_minute": [sale(0, "CNY", "11")]})
    gone = DeltaTable(promotion.root / "gold" / GMV.short)
    gone.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    with pytest.raises(SettingsError, match="are gone"):
        board.at(then)


# --- figures, against the views everybody else asks ------------------------------------------------------------------------------------


def test_the_figures_are_those_of_the_views(promotion: Promotion, board: Board) -> None:
    for minutes in (range(40), range(40, 74), range(30, 32), [74]):  # over an hour, and two minutes restated
        promotion.batch(busy(minutes), at(75))
    tiles = {name: tile["rows"] for name, tile in board.newest()["tiles"].items()}
    with Reader(promotion.root) as reader:

        def asked(sql: str) -> list[dict[str, Any]]:
            return reader.query(sql).to_pylist()

        running = asked("SELECT * FROM gold.gmv_running QUALIFY ROW_NUMBER() OVER (PARTITION BY currency ORDER BY window_start DESC) = 1")
        assert {(row["currency"], row["gmv_amount"], row["net_amount"]) for row in running} == {
            (row["currency"], row["gmv_amount"], row["net_amount"]) for row in tiles["gmv"]
        }
        assert tiles["top_products"] == asked(
            "SELECT currency, product_id, sales_amount, unit_count FROM gold.top_products "
            "WHERE span = 'whole promotion' AND ranked_by = 'amount' ORDER BY currency, rank"
        )
        assert tiles["top_ips"] == asked(
            "SELECT ip, request_count, failed_count FROM gold.top_ips WHERE span = 'hour' AND rank <= 5 "
            "AND window_start = (SELECT MAX(window_start) FROM gold.top_ips WHERE span = 'hour') ORDER BY rank"
        )
        assert tiles["traffic"] == asked("SELECT day, request_count, page_view_count, visitor_count FROM gold.visitors_per_day")
        assert tiles["gmv_per_minute"] == asked(
            "SELECT window_start, currency, SUM(gmv_amount) AS gmv_amount FROM gold.gmv_per_minute "
            "WHERE window_start >= '2026-11-11 00:15:00Z' GROUP BY ALL ORDER BY ALL"
        )
        (funnel,) = asked(
            "SELECT SUM(search_count) AS search_count, SUM(view_count) AS view_count, SUM(order_count) AS order_count "
            "FROM gold.conversion"
        )
        assert tiles["funnel"] == [{"day": date(2026, 11, 11)} | {name: int(value) for name, value in funnel.items()}]


# --- fresh and final --------------------------------------------------------------------------------------------------------------------


def test_a_figure_is_final_once_every_topic_is_ten_minutes_past_its_newest_minute(promotion: Promotion, board: Board) -> None:
    promotion.batch({"gmv_per_minute": [sale(0, "CNY", "10")]}, at(0.5))
    gmv = board.newest()["tiles"]["gmv"]
    assert (gmv["newest"], gmv["final_until"], gmv["final"]) == (at(1), at(-10), False)
    promotion.book(at(10.99))
    assert not board.newest()["tiles"]["gmv"]["final"]
    promotion.book(at(11), topics=TOPICS[1:])  # one topic lags behind: the minute may still fill up
    assert not board.newest()["tiles"]["gmv"]["final"]
    promotion.book(at(11), topics=TOPICS[:1])
    gmv = board.newest()["tiles"]["gmv"]
    assert (gmv["final_until"], gmv["final"]) == (at(1), True)


def test_a_figure_whose_topic_is_silent_so_far_is_provisional(promotion: Promotion, board: Board) -> None:
    promotion.batch({"gmv_per_minute": [sale(0, "CNY", "10")]}, at(60), topics=TOPICS[1:])
    gmv = board.newest()["tiles"]["gmv"]
    assert (gmv["final_until"], gmv["final"]) == (None, False)


def test_each_tile_says_when_data_last_came_in(promotion: Promotion, board: Board) -> None:
    promotion.batch(busy_minute(0), at(0.5))
    before = board.newest()["tiles"]
    DeltaTable(promotion.root / "gold" / GMV.short).optimize.compact()
    promotion.batch({"gmv_per_minute": [sale(1, "CNY", "1")]}, at(1.5))
    after = board.newest()["tiles"]
    assert after["gmv"]["committed_at"] > before["gmv"]["committed_at"]
    assert {name: after[name]["committed_at"] == before[name]["committed_at"] for name in ("traffic", "funnel", "errors")} == {
        "traffic": True, "funnel": True, "errors": True,
    }  # fmt: skip


def test_an_alert_shows_with_the_next_look(promotion: Promotion, board: Board) -> None:
    board.newest()
    promotion.alert("GmvDrop", "it fell", 3)
    (alert,) = board.newest()["tiles"]["alerts"]["rows"]
    assert (alert["alert"], alert["status"], alert["starts_at"]) == ("GmvDrop", "firing", at(3))
