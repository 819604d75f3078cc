"""What a join reads of silver: each row once, in a commit a trigger, whatever silver's own commits are."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from promolake.core.errors import DamageFound
from promolake.core.flow import Reads
from promolake.engine import intake as module
from promolake.engine.arrow import arrow_schema
from promolake.engine.delta_log import FOLDER
from promolake.engine.housekeeping import compacted
from promolake.engine.intake import KEPT, Intake
from promolake.engine.lakehouse import Lakehouse, Txn
from promolake.silver.searches import FLOW as SEARCHES
from promolake.silver.views import FLOW as VIEWS

NOON = datetime(2026, 11, 11, 12, tzinfo=UTC)
READS = (Reads(VIEWS.table, ("event_id", "event_time")), Reads(SEARCHES.table, ("event_id",)))


class Silver:
    """Two silver tables, and the intake of a join that has begun to read them."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.lake = Lakehouse(home / "lake")
        self.lake.create(reads.table for reads in READS)
        self.stopping = Event()
        self.checkpoint = home / "checkpoints" / "join"
        self._commits = 0
        self.intake = self.begun()

    def begun(self) -> Intake:
        """As a run begins; afterwards the query has planned its first batch."""
        intake = Intake(READS, self.lake, self.home / "intake", self.stopping)
        self.anew = intake.begin(self.checkpoint)
        (self.checkpoint / "offsets").mkdir(parents=True, exist_ok=True)
        (self.checkpoint / "offsets" / "0").write_text("")
        return intake

    def arrive(self, *ids: str, table=VIEWS.table) -> None:
        """A commit of a row for each id."""
        self._commits += 1
        rows = [{"event_id": one, "event_time": NOON + timedelta(seconds=self._commits)} for one in ids]
        self.lake.append(table, pa.Table.from_pylist(rows, schema=arrow_schema(table)), Txn("scan", self._commits))

    def taken(self, table=VIEWS.table) -> list[str]:
        return DeltaTable(self.intake.path(table)).to_pyarrow_table()["event_id"].to_pylist()

    def commits(self) -> int:
        return DeltaTable(self.intake.path(VIEWS.table)).version()

    def commit(self, version: int) -> Path:
        return Path(self.lake.path(VIEWS.table), FOLDER, f"{version:020}.json")


@pytest.fixture
def silver(tmp_path: Path) -> Silver:
    return Silver(tmp_path)


def test_all_commits_since_the_last_time_are_one_commit_with_the_columns_the_join_reads(silver: Silver) -> None:
    before = silver.commits()
    silver.arrive("v1", "v2")
    silver.arrive("v3")
    silver.arrive("s1", table=SEARCHES.table)
    silver.intake.take()
    assert (sorted(silver.taken()), silver.taken(SEARCHES.table)) == (["v1", "v2", "v3"], ["s1"])
    assert silver.commits() == before + 1
    assert DeltaTable(silver.intake.path(VIEWS.table)).to_pyarrow_table().column_names == ["event_id", "event_time"]
    silver.intake.take()
    assert silver.commits() == before + 1, "nothing new, and yet something was written"


def test_what_was_there_before_the_first_start_comes_first_and_a_later_start_goes_on(tmp_path: Path) -> None:
    lake = Lakehouse(tmp_path / "lake")
    lake.create([VIEWS.table])
    lake.append(VIEWS.table, pa.Table.from_pylist([{"event_id": "v0"}], schema=arrow_schema(VIEWS.table)), Txn("earlier", 1))
    silver = Silver(tmp_path)
    assert silver.taken() == ["v0"]
    silver.arrive("v1")
    silver.intake = silver.begun()
    assert not silver.anew
    silver.arrive("v2")
    silver.intake.take()
    assert sorted(silver.taken()) == ["v0", "v1", "v2"]


def test_of_much_that_has_waited_each_commit_takes_a_part(silver: Silver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 3)
    before = silver.commits()
    for n in range(7):
        silver.arrive(f"v{n}", f"w{n}")
    silver.intake.take()
    assert sorted(silver.taken()) == sorted(f"{kind}{n}" for kind in "vw" for n in range(7))
    assert silver.commits() == before + 4  # of two commits each, which are four rows, and one of the last


def test_a_stop_is_heard_while_much_is_taken_and_the_rest_comes_the_next_time(silver: Silver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 1)
    for n in range(3):
        silver.arrive(f"v{n}")
    silver.stopping.set()
    silver.intake.take()
    assert silver.taken() == ["v0"]
    shutil.rmtree(silver.checkpoint)
    with pytest.raises(Exception, match="the run was stopped"):
        silver.begun()  # anew, with all rows
    silver.stopping.clear()
    silver.intake = silver.begun()
    assert sorted(silver.taken()) == ["v0", "v1", "v2"]


def test_rows_that_are_only_put_together_or_written_anew_do_not_come_again(silver: Silver) -> None:
    for n in range(4):
        silver.arrive(f"v{n}")
    silver.intake.take()
    assert compacted(DeltaTable(silver.lake.path(VIEWS.table)), VIEWS.table, 2) == 3
    rebuilt = pa.Table.from_pylist([{"event_id": f"v{n}"} for n in range(5)], schema=arrow_schema(VIEWS.table))
    silver.lake.overwrite(VIEWS.table, rebuilt, [Txn("rebuild", 1)])
    silver.arrive("v9")
    silver.intake.take()
    assert sorted(silver.taken()) == ["v0", "v1", "v2", "v3", "v9"]


def test_a_table_that_brings_no_row_for_as_long_as_its_log_is_kept_is_not_taken_for_lost(silver: Silver) -> None:
    """What maintenance commits meanwhile is cleared as well."""
    for n in range(4):
        silver.arrive(f"v{n}")
    silver.intake.take()
    newest = silver.lake.version(VIEWS.table)
    compacted(DeltaTable(silver.lake.path(VIEWS.table)), VIEWS.table, 2)
    silver.intake.take()
    DeltaTable(silver.lake.path(VIEWS.table)).create_checkpoint()
    silver.commit(newest + 1).unlink()
    silver.lake = Lakehouse(silver.home / "lake")
    silver.intake = silver.begun()
    silver.arrive("v4")
    silver.intake.take()
    assert (sorted(silver.taken()), silver.anew) == (["v0", "v1", "v2", "v3", "v4"], False)


LOST: dict[str, Callable[[Path], object]] = {
    "no longer kept": Path.unlink,
    "which is empty": lambda file: file.write_text(""),
    "which is cut off": lambda file: file.write_text(file.read_text().splitlines()[0] + "\n"),
}


@pytest.mark.parametrize("why", LOST)
def test_a_commit_that_cannot_be_read_is_not_passed_over(silver: Silver, why: str) -> None:
    silver.arrive("v1")
    silver.intake.take()
    silver.arrive("v2")
    due = silver.lake.version(VIEWS.table)
    silver.arrive("v3")
    DeltaTable(silver.lake.path(VIEWS.table)).create_checkpoint()
    LOST[why](silver.commit(due))
    with pytest.raises(DamageFound, match=f"version {due} of silver.views, which is {why.removeprefix('which is ')}.*doctor --mend"):
        silver.intake.take()
    assert silver.taken() == ["v1"]


def intake_lost(silver: Silver) -> None:
    shutil.rmtree(silver.home / "intake")


def checkpoint_lost(silver: Silver) -> None:
    shutil.rmtree(silver.checkpoint)


def half_of_the_intake_made(silver: Silver) -> None:
    """A process that died at its first start, between one table and the next."""
    shutil.rmtree(silver.intake.path(SEARCHES.table))


def another_table(silver: Silver) -> None:
    shutil.rmtree(silver.lake.path(SEARCHES.table))
    silver.lake = Lakehouse(silver.home / "lake")
    silver.lake.create([SEARCHES.table])
    silver.arrive("s1", table=SEARCHES.table)


@pytest.mark.parametrize(
    "change", [intake_lost, checkpoint_lost, half_of_the_intake_made, another_table], ids=lambda change: change.__name__
)
def test_checkpoint_and_intake_begin_anew_together(silver: Silver, change: Callable[[Silver], None]) -> None:
    silver.arrive("v1")
    silver.arrive("s1", table=SEARCHES.table)
    silver.intake.take()
    before = DeltaTable(silver.intake.path(VIEWS.table)).metadata().id
    (silver.checkpoint / "state").mkdir()
    change(silver)
    silver.arrive("v2")
    silver.intake = silver.begun()
    assert (sorted(silver.taken()), silver.taken(SEARCHES.table)) == (["v1", "v2"], ["s1"])
    assert not (silver.checkpoint / "state").exists(), "a checkpoint of rows that come again"
    assert silver.anew is (change is not checkpoint_lost), "to be told of where there was a checkpoint"
    assert DeltaTable(silver.intake.path(VIEWS.table)).metadata().id != before


def read_up_to(silver: Silver, version: int, done: bool = True) -> None:
    """As Spark writes down that it has planned, and done, a batch that ends before a version of the intake of views."""
    table_id = DeltaTable(silver.intake.path(VIEWS.table)).metadata().id
    end = f'{{"sourceVersion":3,"reservoirId":"{table_id}","reservoirVersion":{version},"index":-1,"isStartingVersion":false}}'
    batch = max((int(file.name) for file in (silver.checkpoint / "offsets").iterdir()), default=-1) + 1
    (silver.checkpoint / "offsets" / f"{batch}").write_text(f"v1\n{{}}\n{end}\n-")
    commits = silver.checkpoint / "commits"
    commits.mkdir(exist_ok=True)
    if done:
        (commits / f"{batch}").write_text("v1\n{}")


def files(silver: Silver) -> int:
    return len([*Path(silver.intake.path(VIEWS.table)).glob("*.parquet")])


@pytest.mark.parametrize(("began", "kept"), [(2 * KEPT - 1, KEPT + 1), (3, 2 * KEPT + 2)])
def test_what_the_join_has_read_is_forgotten_and_nothing_else(silver: Silver, began: int, kept: int) -> None:
    """Of the log stays what Spark reads again when it starts, all of the last batch, and some commits more."""
    for n in range(2 * KEPT):
        silver.arrive(f"v{n}")
        silver.intake.take()
    read_up_to(silver, silver.commits())
    silver.intake.forget(silver.checkpoint)
    assert files(silver) == 2 * KEPT, "the last commit was not read yet"
    read_up_to(silver, silver.commits() + 1, done=False)
    silver.intake.forget(silver.checkpoint)
    assert files(silver) == 2 * KEPT, "its batch may have to be done again"
    read_up_to(silver, began)
    read_up_to(silver, silver.commits() + 1)
    silver.intake.forget(silver.checkpoint)
    assert (files(silver), silver.taken()) == (0, [])
    log = Path(silver.intake.path(VIEWS.table), FOLDER)
    left = sorted(int(file.stem) for file in log.glob("*.json"))
    assert (left[0] <= began, len(left)) == (True, kept), left
    silver.arrive("later")
    silver.intake = silver.begun()  # it still knows what it has taken
    assert silver.taken() == ["later"]
