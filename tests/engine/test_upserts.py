"""Upserts: any batches, crashed or replayed, leave what a recomputation gives, by whichever hand they are written."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from drawn import drawn
from engine.small_tables import PRICES, SALES, Figures, batch, crash_before_the_append, held, left_to_delta_rs
from promolake.core.table import Table
from promolake.engine.lakehouse import Lakehouse, Txn


@pytest.fixture
def delta_rs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lakehouse:
    """A lake all of whose upserts are delta-rs's, in up to two commits each."""
    left_to_delta_rs(monkeypatch)
    return Lakehouse(tmp_path)


# --- crashes between the two commits of an upsert --------------------------------------------------------------------------------


STANDS = {(0, "a"): ("10", 1), (1, "a"): ("20", 2)}
COMES = {(1, "a"): ("5", 1), (1, "b"): ("7", 1), (2, "a"): ("3", 1)}
SUMS = {(0, "a"): (Decimal(10), 1), (1, "a"): (Decimal(25), 3), (1, "b"): (Decimal(7), 1), (2, "a"): (Decimal(3), 1)}


def crashed(lake: Lakehouse, txn: Txn) -> None:
    lake.upsert(SALES, batch(STANDS), Txn("scan", 0))
    with crash_before_the_append(), pytest.raises(OSError, match="No space left"):
        lake.upsert(SALES, batch(COMES), txn)
    assert held(lake) == {(0, "a"): (Decimal(10), 1), (1, "a"): (Decimal(25), 3), (1, "b"): (Decimal(7), 1)}, "the crash came elsewhere"


@pytest.mark.parametrize("reopened", [False, True], ids=["in the same process", "in the next one"])
def test_a_crash_between_the_two_commits_of_an_upsert_is_mended_by_the_replay(delta_rs: Lakehouse, tmp_path: Path, reopened: bool) -> None:
    crashed(delta_rs, Txn("scan", 1))
    again = Lakehouse(tmp_path) if reopened else delta_rs
    assert again.upsert(SALES, batch(COMES), Txn("scan", 1)) is True
    assert held(again) == SUMS
    assert again.upsert(SALES, batch(COMES), Txn("scan", 1)) is False
    assert held(again) == SUMS


def test_what_delta_rs_began_is_ended_though_the_table_is_written_by_hand_since(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        left_to_delta_rs(patch)
        crashed(Lakehouse(tmp_path), Txn("scan", 1))
    again = Lakehouse(tmp_path)
    assert again.upsert(SALES, batch(COMES), Txn("scan", 1)) is True
    assert held(again) == SUMS
    assert again.upsert(SALES, batch(COMES), Txn("scan", 2)) is True
    assert held(again) == {grain: (2 * amount, 2 * units) for grain, (amount, units) in SUMS.items() if grain not in STANDS} | {
        (0, "a"): (Decimal(10), 1),
        (1, "a"): (Decimal(30), 4),
    }


def test_an_upsert_by_hand_is_one_commit_and_a_crash_leaves_nothing_of_it(tmp_path: Path) -> None:
    lake = Lakehouse(tmp_path)
    lake.upsert(SALES, batch(STANDS), Txn("scan", 0))
    before = held(lake)
    with crash_before_the_append(), pytest.raises(OSError, match="No space left"):
        lake.upsert(SALES, batch(COMES), Txn("scan", 1))
    assert (held(lake), lake.version(SALES)) == (before, 1)
    assert lake.upsert(SALES, batch(COMES), Txn("scan", 1)) is True
    assert (held(lake), lake.version(SALES)) == (SUMS, 2)


def test_without_the_transaction_the_same_replay_doubles(delta_rs: Lakehouse) -> None:
    """The control: were the first commit not recorded, the tests above would fail."""
    crashed(delta_rs, Txn("scan", 1))
    delta_rs.upsert(SALES, batch(COMES), Txn("a scan that does not know what it did", 1))
    assert held(delta_rs) == SUMS | {(1, "a"): (Decimal(30), 4), (1, "b"): (Decimal(14), 2)}


FIGURES = st.dictionaries(
    st.tuples(st.integers(0, 6), st.sampled_from("abc")),
    st.tuples(st.decimals(-1000, 1000, allow_nan=False, places=4), st.integers(0, 9)),
    min_size=1,
    max_size=6,
)
BATCHES = st.lists(st.tuples(FIGURES, st.sampled_from(["plain", "replayed", "crashed", "reopened"])), min_size=1, max_size=6)


def recomputed(batches: list[Figures], table: Table) -> Figures:
    found: Figures = {}
    for figures in batches:
        for grain, (amount, units) in figures.items():
            stands = found.get(grain, (Decimal(0), 0)) if table is SALES else (Decimal(0), 0)
            found[grain] = (stands[0] + amount, stands[1] + units)
    return found


def upserted(opened: Callable[[int], Lakehouse], table: Table, batches: list[tuple[Figures, str]]) -> Figures:
    """What the table holds after batches of new, known and late windows, some written twice, some crashed and replayed."""
    lake = opened(0)
    for number, (figures, fate) in enumerate(batches):
        if fate == "crashed":
            with crash_before_the_append():
                try:
                    lake.upsert(table, batch(figures), Txn("scan", number))
                except OSError:
                    lake = opened(number)
        lake.upsert(table, batch(figures), Txn("scan", number))
        if fate != "plain":
            lake = opened(number) if fate == "reopened" else lake
            assert lake.upsert(table, batch(figures), Txn("scan", number)) is False
    return held(lake, table)


@pytest.mark.parametrize("by_hand", [True, False], ids=["by hand", "by delta-rs"])
@pytest.mark.parametrize("table", [SALES, PRICES], ids=lambda table: table.written)
def test_any_sequence_of_batches_gives_what_a_recomputation_gives(monkeypatch: pytest.MonkeyPatch, table: Table, by_hand: bool) -> None:
    if not by_hand:
        left_to_delta_rs(monkeypatch)

    @settings(max_examples=25, deadline=None, derandomize=True, database=None)
    @given(BATCHES)
    def check(batches: list[tuple[Figures, str]]) -> None:
        with tempfile.TemporaryDirectory() as root:
            assert upserted(lambda _: Lakehouse(Path(root)), table, batches) == recomputed([figures for figures, _ in batches], table)

    check()


@pytest.mark.spark
@pytest.mark.parametrize("table", [SALES, PRICES], ids=lambda table: table.written)
def test_so_it_does_when_spark_writes_every_second_batch(spark: SparkSession, tmp_path: Path, table: Table) -> None:
    """Mixed writers: each sees what the other wrote and which transactions it recorded."""
    (batches,) = drawn(st.lists(st.tuples(FIGURES, st.just("plain")), min_size=4, max_size=4), 1)
    lake = Lakehouse(tmp_path, lambda: spark)
    for number, (figures, _) in enumerate(batches):
        lake._spark_above = 1_000_000 if number % 2 else 0
        assert lake.upsert(table, batch(figures), Txn("scan", number)) is True
        lake._spark_above = 0 if number % 2 else 1_000_000
        assert lake.upsert(table, batch(figures), Txn("scan", number)) is False
        assert lake.transaction(table, "scan") == Lakehouse(tmp_path).transaction(table, "scan") == number
        assert held(lake, table) == recomputed([figures for figures, _ in batches[: number + 1]], table)


def test_a_table_put_in_place_after_a_half_written_upsert_takes_the_whole_of_its_replay(delta_rs: Lakehouse) -> None:
    lake = delta_rs
    standing, fifth = {(0, "a"): ("1", 1)}, {(0, "a"): ("10", 10), (1, "a"): ("5", 5)}
    lake.upsert(SALES, batch(standing), Txn("scan", 4))
    with crash_before_the_append(), pytest.raises(OSError, match="No space"):
        lake.upsert(SALES, batch(fifth), Txn("scan", 5))
    assert held(lake) == {(0, "a"): (Decimal(11), 11)}, "nothing was half written"
    lake.overwrite(SALES, batch(standing), [Txn("scan", 4)])
    lake.upsert(SALES, batch(fifth), Txn("scan", 5))
    assert held(lake) == {(0, "a"): (Decimal(11), 11), (1, "a"): (Decimal(5), 5)}
