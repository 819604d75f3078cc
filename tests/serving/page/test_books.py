"""The ledger's sums, file by file, are those of the whole ledger whatever happens to its files."""

from __future__ import annotations

from datetime import timedelta

import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from promolake.engine.ledger import LEDGER
from promolake.serving.page import books
from promolake.serving.page.books import FATES, Books
from serving.conftest import Lake
from serving.page.home import NOW, entry, seconds
from serving.page.home import books as first_entries

SINCE = NOW - timedelta(seconds=60)


@pytest.fixture
def ledger(lake: Lake) -> DeltaTable:
    first_entries(lake)
    return DeltaTable(lake.root / "ops" / "ledger")


def whole(ledger: DeltaTable) -> dict[str, int]:
    rows = ledger.to_pyarrow_dataset().to_table()
    return {fate: pc.sum(rows[f"{fate}_count"]).as_py() for fate in FATES}


def more(lake: Lake, ledger: DeltaTable, ago: float) -> None:
    lake.add(LEDGER, [entry(9, 0, ago, read=7, valid=4, quarantined=2, duplicate=1, late=1)])
    ledger.update_incremental()


def test_sums_stay_those_of_the_whole_through_appends_and_compaction(lake: Lake, ledger: DeltaTable) -> None:
    kept = Books()
    for ago in (400, 300, 2):
        more(lake, ledger, ago)
        assert dict(kept.counted(ledger, SINCE)["shop.orders"].counts) == whole(ledger)
    ledger.optimize.compact()
    ledger.update_incremental()
    assert len(ledger.file_uris()) == 1
    assert dict(kept.counted(ledger, SINCE)["shop.orders"].counts) == whole(ledger)


def test_a_file_is_counted_once(lake: Lake, ledger: DeltaTable, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    monkeypatch.setattr(books, "_counted", lambda *given, real=books._counted: counted.append(1) or real(*given))
    kept = Books()
    kept.counted(ledger, SINCE)
    kept.counted(ledger, SINCE)
    more(lake, ledger, 2)
    kept.counted(ledger, SINCE)
    assert len(counted) == 2


def test_only_batches_that_read_something_and_are_not_old_count_for_the_rate(ledger: DeltaTable) -> None:
    batches = Books().counted(ledger, SINCE)["shop.orders"].batches
    assert sorted(batches) == [(seconds(10), 10), (seconds(10), 50)]
    assert books.lately(batches, NOW - timedelta(seconds=60)) == 60
    assert books.lately(batches, NOW) == 0
