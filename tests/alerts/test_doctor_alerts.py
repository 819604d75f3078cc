"""Damages of what the alerts keep are found, and what was mended tells every alert once."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable

from alerts.viewed import GMV, RUNNING, Lake
from faults import cut_after_a_line, cut_in_a_line, emptied
from promolake.alerts.outbox import Outbox, outbox_file
from promolake.alerts.tables import ALERTS, STATES
from promolake.engine.doctor import Doctor, Mended
from promolake.engine.doctor_alerts import AlertsKept
from promolake.engine.finding import Finding, Harm
from promolake.hallway import HALLWAY

AMOUNTS = [500, 1, 500, 1, 500, 1, 1, 500, 1, 1]  # over 100 in every other minute, or so
HALF = 6
LEAF = 0x0A  # the first byte of an index page without children (SQLite, "Database File Format", 1.6)


class Home:
    """A home whose alerts can be damaged, examined, mended, and run on; its dispatcher has taken in what was told until `taken`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.lake = Lake(home, RUNNING.replace("over: 1h", "over: 1m"))
        self.number = 0

    def run_to(self, number: int) -> Home:
        """Batches of a minute each, then the process ends."""
        while self.number < number:
            row = {"minute": self.number, "currency": "CNY", "channel": "app", "gmv_amount": AMOUNTS[self.number]}
            self.lake.batch(GMV, self.number, row)
            self.number += 1
        return self

    def dispatched(self) -> Home:
        outbox = Outbox(outbox_file(self.home))
        outbox.take_in(self.lake.lake.read(ALERTS, ALERTS.column_names).to_pylist(), lambda _: [], timedelta(days=1), 0)
        outbox.close()
        return self

    def again(self) -> None:
        """A new process, which knows what stands in the tables."""
        self.lake = Lake(self.home, RUNNING.replace("over: 1h", "over: 1m"))

    @property
    def doctor(self) -> Doctor:
        return Doctor(self.home, self.home / "lake", HALLWAY, AlertsKept(ALERTS, STATES, outbox_file(self.home)))

    def findings(self) -> list[Finding]:
        return self.doctor.findings()

    def mended(self) -> Mended:
        return self.doctor.mend(print)

    def newest(self, name: str, back: int = 0) -> Path:
        return sorted((self.home / "lake" / name.replace(".", "/") / "_delta_log").glob("*.json"))[-1 - back]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").run_to(HALF)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str, int]]:
    found = Home(tmp_path_factory.mktemp("calm") / "home").run_to(len(AMOUNTS)).lake.alerts()
    assert len(found) == 8
    return found


def test_a_sound_home_is_healthy_while_its_outbox_lags_behind(home: Home) -> None:
    assert home.findings() == []
    home.dispatched().run_to(HALF + 2)
    assert home.findings() == []


@pytest.mark.parametrize("damage", [emptied, cut_in_a_line, cut_after_a_line], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("table", [ALERTS, STATES], ids=lambda table: table.name)
def test_a_lost_newest_commit_is_found_and_mended_and_every_alert_is_told_once(
    table, damage: Callable[[Path], None], home: Home, undisturbed: list[tuple[str, str, int]]
) -> None:
    damage(home.newest(table.name))
    (found,) = home.findings()
    assert (found.where, found.harm) == (f"lake {table.name}", Harm.LOUD if damage is cut_in_a_line else Harm.SILENT)
    assert home.mended().left == []
    home.again()
    home.run_to(len(AMOUNTS))
    assert home.lake.alerts() == undisturbed
    assert home.findings() == []


def test_without_the_mend_the_alert_of_a_lost_commit_would_be_missing(home: Home, undisturbed: list[tuple[str, str, int]]) -> None:
    emptied(home.newest(ALERTS.name))
    home.again()
    home.run_to(len(AMOUNTS))
    assert {*undisturbed} - {*home.lake.alerts()} == {("firing", "CNY", 4), ("resolved", "CNY", 3)}


def test_a_lost_commit_of_an_older_batch_is_found_again_in_the_data_files(home: Home, undisturbed: list[tuple[str, str, int]]) -> None:
    emptied(home.newest(ALERTS.name, back=1))
    (found,) = home.findings()
    assert found.harm is Harm.SILENT
    assert home.mended().left == []
    home.again()
    home.run_to(len(AMOUNTS))
    assert home.lake.alerts() == undisturbed


def test_alerts_whose_commit_is_gone_altogether_come_back_from_the_outbox(home: Home, undisturbed: list[tuple[str, str, int]]) -> None:
    home.dispatched()
    before = home.lake.alerts()
    newest = home.newest(ALERTS.name)
    for name in file_names(newest):
        (newest.parent.parent / name).unlink()
    newest.unlink()
    home.again()
    assert len(home.lake.alerts()) == len(before) - 2, "the fault did not happen"
    (found,) = home.findings()
    assert (found.where, found.harm, "lacks 2 alerts" in found.what) == (f"lake {ALERTS.name}", Harm.SILENT, True)
    assert home.mended().left == []
    home.again()
    assert home.lake.alerts() == before
    home.run_to(len(AMOUNTS))
    assert home.lake.alerts() == undisturbed


def file_names(commit: Path) -> set[str]:
    actions = [json.loads(line) for line in commit.read_text().splitlines()]
    return {action["add"]["path"] for action in actions if "add" in action}


def test_a_lost_commit_of_older_states_is_named_and_none_is_mended(home: Home) -> None:
    emptied(home.newest(STATES.name, back=1))
    (left,) = home.mended().left
    assert (left.where, left.harm) == (f"lake {STATES.name}", Harm.SILENT)
    assert left.remedy.startswith(f"Move {home.home / 'lake/ops/alert_states'} away")


@pytest.mark.parametrize("table", [ALERTS, STATES], ids=lambda table: table.name)
def test_a_missing_data_file_is_named_and_none_is_mended(table, home: Home) -> None:
    Path(DeltaTable(home.lake.lake.path(table)).file_uris()[0]).unlink()
    (left,) = home.mended().left
    assert (left.where, left.harm, "data files are missing" in left.what) == (f"lake {table.name}", Harm.LOUD, True)


# --- the outbox --------------------------------------------------------------------------------------------------------------------


def test_an_outbox_that_is_no_database_is_named_with_what_its_loss_would_mean(home: Home) -> None:
    outbox_file(home.dispatched().home).write_bytes(b"junk" * 2000)
    (left,) = home.mended().left
    assert (left.where, left.harm) == ("state/outbox.sqlite", Harm.LOUD)
    assert "is told again" in left.remedy


def test_an_emptied_outbox_is_a_silent_damage(home: Home) -> None:
    emptied(outbox_file(home.dispatched().home))
    (left,) = home.mended().left
    assert (left.where, left.harm) == ("state/outbox.sqlite", Harm.SILENT)


def test_an_outbox_with_a_damaged_page_is_not_mended(home: Home) -> None:
    file = outbox_file(home.dispatched().home)
    pages = bytearray(file.read_bytes())
    root = page_of(file, "alerts")
    pages[root + 8 : root + 60] = b"\xff" * 52
    file.write_bytes(bytes(pages))
    (left,) = home.mended().left
    assert (left.where, left.harm, left.mend) == ("state/outbox.sqlite", Harm.LOUD, None)


def test_an_index_of_the_outbox_that_lacks_rows_is_made_anew(home: Home) -> None:
    file = outbox_file(home.dispatched().home)
    pages = bytearray(file.read_bytes())
    root = page_of(file, "alerts_ingested_at")
    assert pages[root] == LEAF
    pages[root : root + 8] = bytes([LEAF, 0, 0, 0, 0, pages[16], pages[17], 0])  # as it was before the first entry
    file.write_bytes(bytes(pages))
    (found,) = home.findings()
    assert (found.where, found.harm) == ("state/outbox.sqlite", Harm.LOUD)
    assert home.mended().left == []
    outbox = Outbox(file)
    assert outbox.taken_until is not None
    outbox.close()


def page_of(file: Path, name: str) -> int:
    """Where the root page of a table or index begins, bytes."""
    database = sqlite3.connect(file)
    (size,) = database.execute("PRAGMA page_size").fetchone()
    (root,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()
    database.close()
    return (root - 1) * size
