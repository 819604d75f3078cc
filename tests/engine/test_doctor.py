"""Every damage of a checkpoint or a table is found, and what was mended runs on without a row lost or counted twice."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable
from pyspark.sql import SparkSession

import day as days
from faults import Faults
from promolake.core.errors import DamageFound, FlowFailed, HomeInUse
from promolake.core.table import Written
from promolake.engine import runner
from promolake.engine.doctor import Doctor, Mended, preflight
from promolake.engine.finding import Finding, Harm
from promolake.engine.lakehouse import Lakehouse
from promolake.engine.ledger import LEDGER
from promolake.engine.lock import writing
from promolake.engine.query_log import QueryLog
from promolake.engine.runner import Runner, chosen
from promolake.hallway import HALLWAY
from promolake.local.broker import Broker

pytestmark = [pytest.mark.spark, pytest.mark.broker]
FLOWS = chosen(
    HALLWAY, ["sales_per_product_per_minute", "funnel_per_minute", "attributed_orders"]
)  # one that adds, one that replaces, one that joins
TABLES = [*FLOWS.tables, LEDGER]
RECORDS = 35  # of a batch
SCAN, JOIN = "main", "attributed_orders"
SALES, FUNNEL = (flow.table for flow in FLOWS.metrics)
assert (SALES.written, FUNNEL.written) == (Written.ACCUMULATE, Written.REPLACE)
ATTRIBUTED = FLOWS.joins[0].table
ORDERS = next(flow for flow in FLOWS.ingests if flow.topic.name == "shop.orders")
VIEWS = next(flow for flow in FLOWS.ingests if flow.topic.name == "shop.views")


@dataclass(frozen=True)
class Patient:
    """A home that can be damaged, examined, mended, and run on to the end of its topics."""

    home: Path
    bootstrap: str
    spark: SparkSession

    @property
    def lake(self) -> Lakehouse:
        return Lakehouse(self.home / "lake")

    def doctor(self) -> Doctor:
        return Doctor(self.home, self.home / "lake", HALLWAY)

    def findings(self, worse_than: Harm = Harm.NONE) -> list[Finding]:
        return [one for one in self.doctor().findings() if one.harm is not worse_than]

    def mended(self) -> Mended:
        return self.doctor().mend(print)

    def preflight(self) -> None:
        preflight(self.home, self.home / "lake", HALLWAY, [SCAN, JOIN])

    def run_on(self) -> None:
        days.run_once(days.settings_for(self.home, RECORDS), self.bootstrap, self.spark, FLOWS)

    def checkpoint(self, query: str = SCAN) -> QueryLog:
        return QueryLog(self.home / "checkpoints" / query)

    def offsets(self, back: int = 0, query: str = SCAN) -> Path:
        log = self.checkpoint(query)
        return log.offsets_file(log.last - back)

    def commits(self, back: int = 0, query: str = SCAN) -> Path:
        log = self.checkpoint(query)
        return log.commits_file(log.last - back)

    def log(self, name: str) -> Path:
        return self.home / "lake" / name.replace(".", "/") / "_delta_log"

    def newest(self, name: str, back: int = 0) -> Path:
        return sorted(self.log(name).glob("*.json"))[-1 - back]

    def holds(self) -> dict[str, object]:
        """All that may not depend on when it was read: every row of every table, and what the ledger counted."""
        lake, found = self.lake, {}
        for table in FLOWS.tables:
            names = [name for name in table.column_names if name not in ("ingested_at", "visitor_sketch")]
            rows = lake.read(table, names).to_pylist()
            found[table.name] = sorted(map(repr, rows))
        ledger = lake.read(LEDGER, ["topic", "partition", "read_count", "valid_count", "quarantined_count", "duplicate_count"])
        counts = ledger.group_by(["topic", "partition"]).aggregate([(name, "sum") for name in ledger.column_names[2:]])
        return found | {LEDGER.name: sorted(map(repr, counts.to_pylist()))}


@dataclass(frozen=True)
class Ward:
    """A healthy home half way through its topics, and what it holds when it is run to their end."""

    healthy: Path
    bootstrap: str
    spark: SparkSession
    whole: dict[str, object]

    def admit(self, home: Path) -> Patient:
        shutil.copytree(self.healthy, home)
        return Patient(home, self.bootstrap, self.spark)


@pytest.fixture(scope="module")
def ward(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    own = Broker(tmp_path_factory.mktemp("ward_broker"))
    own.start(print, tied=True)
    bootstrap = own.status().bootstrap
    days.sent(bootstrap, 25, seed=11)
    healthy = Patient(tmp_path_factory.mktemp("ward") / "healthy", bootstrap, spark)
    healthy.run_on()
    assert healthy.checkpoint().last >= 2, "too few batches to damage"
    days.sent(bootstrap, 10, seed=12)
    whole = tmp_path_factory.mktemp("ward") / "whole"
    shutil.copytree(healthy.home, whole)
    undisturbed = Patient(whole, bootstrap, spark)
    undisturbed.run_on()
    assert undisturbed.checkpoint().last > healthy.checkpoint().last
    yield Ward(healthy.home, bootstrap, spark, undisturbed.holds())
    own.stop()


@pytest.fixture
def patient(ward: Ward, tmp_path: Path) -> Patient:
    return ward.admit(tmp_path / "patient")


# --- health ----------------------------------------------------------------------------------------------------------------------


def test_a_healthy_home_has_no_findings_and_nothing_is_mended(patient: Patient) -> None:
    assert patient.doctor().findings() == []
    assert patient.mended() == Mended([], [], None)
    assert not (patient.home / "doctor").exists()
    began = perf_counter()
    patient.preflight()
    assert perf_counter() - began < 1


def test_a_home_in_which_nothing_has_run_yet_is_healthy(tmp_path: Path) -> None:
    assert Doctor(tmp_path, tmp_path / "lake", HALLWAY).findings() == []
    preflight(tmp_path, tmp_path / "lake", HALLWAY, [SCAN, JOIN])


def test_a_healthy_home_stays_so_when_it_is_run_on(ward: Ward, patient: Patient) -> None:
    patient.run_on()
    assert patient.holds() == ward.whole
    assert patient.doctor().findings() == []


def test_while_a_stream_runs_nothing_is_mended(patient: Patient) -> None:
    patient.commits().write_text("")
    with writing(patient.home, [ORDERS.table]), pytest.raises(HomeInUse):
        patient.mended()
    assert patient.commits().read_text() == ""


# --- checkpoints: the damages of reliability.md 2.1 ------------------------------------------------------------------------------


def last_commit_cut(patient: Patient) -> None:
    patient.commits().write_text("")


def last_commit_garbage(patient: Patient) -> None:
    patient.commits().write_text("v1\n{oops")


def last_offsets_cut(patient: Patient) -> None:
    patient.offsets().write_text("")


def last_offsets_garbage(patient: Patient) -> None:
    patient.offsets().write_text("v1\n{}\n{oops")


def last_pair_cut(patient: Patient) -> None:
    last_commit_cut(patient)
    last_offsets_cut(patient)


def last_pair_lost(patient: Patient) -> None:
    patient.commits().unlink()
    patient.offsets().unlink()


def last_two_pairs_lost(patient: Patient) -> None:
    for _ in range(2):
        last_pair_lost(patient)


def commits_ahead(patient: Patient) -> None:
    patient.offsets().unlink()


def offsets_before_the_last_lost(patient: Patient) -> None:
    patient.offsets(1).unlink()


def metadata_lost(patient: Patient) -> None:
    patient.checkpoint().metadata_file.unlink()


def metadata_cut(patient: Patient) -> None:
    patient.checkpoint().metadata_file.write_text("")


def metadata_and_last_pair_lost(patient: Patient) -> None:
    metadata_lost(patient)
    last_pair_lost(patient)


def checkpoint_lost(patient: Patient) -> None:
    shutil.rmtree(patient.checkpoint().folder)


def checkpoint_begun_anew(patient: Patient) -> None:
    """As a run leaves it that was stopped before its first batch was written."""
    planned = patient.checkpoint().offsets_file(0).read_text()
    checkpoint_lost(patient)
    patient.checkpoint().write_id("00000000-0000-4000-8000-000000000000")
    (patient.checkpoint().folder / "offsets").mkdir()
    patient.checkpoint().offsets_file(0).write_text(planned)


LOUD = [last_commit_cut, last_commit_garbage, last_offsets_cut, last_offsets_garbage, last_pair_cut]
LOUD += [offsets_before_the_last_lost, metadata_lost, metadata_cut]
SILENT = [last_pair_lost, last_two_pairs_lost, commits_ahead, metadata_and_last_pair_lost, checkpoint_lost, checkpoint_begun_anew]


@pytest.mark.parametrize("damage", [*LOUD, *SILENT], ids=lambda damage: damage.__name__)
def test_a_damaged_checkpoint_is_found_mended_and_runs_on(ward: Ward, patient: Patient, damage: Callable[[Patient], None]) -> None:
    damage(patient)
    found = patient.findings()
    assert [one.where.split("/")[:2] for one in found] == [["checkpoints", SCAN]] * len(found) != []
    assert (Harm.SILENT in {one.harm for one in found}) is (damage in SILENT), found
    if damage in SILENT:
        with pytest.raises(DamageFound, match=r"checkpoints/main.*`promolake doctor --mend` mends it"):
            patient.preflight()
    result = patient.mended()
    assert result.left == []
    assert result.undone
    assert json.loads((result.backup / "mended.json").read_text())[0]["where"] == result.undone[0].where
    patient.preflight()
    patient.run_on()
    assert patient.holds() == ward.whole
    assert patient.doctor().findings() == []


@pytest.mark.parametrize("damage", [last_pair_lost, checkpoint_lost], ids=lambda damage: damage.__name__)
def test_without_the_mend_a_run_is_refused_and_would_be_silently_wrong(
    ward: Ward, patient: Patient, damage: Callable[[Patient], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: were nothing mended, the test above would fail."""
    damage(patient)
    with pytest.raises(DamageFound):
        patient.run_on()
    monkeypatch.setattr(runner, "preflight", lambda *_: None)
    patient.run_on()
    orders = patient.lake.read(ORDERS.bronze, ["offset"]).num_rows
    assert orders != len(ward.whole[ORDERS.bronze.name])
    if damage is checkpoint_lost:
        (found,) = patient.findings()
        assert (found.harm, found.mend) == (Harm.SILENT, None)
        assert "was begun anew" in found.what


@pytest.mark.parametrize("lost", [1, 2])
def test_commits_that_are_only_missing_at_the_end_are_harmless(ward: Ward, patient: Patient, lost: int) -> None:
    for back in range(lost):
        patient.commits(back).unlink()
    assert patient.findings() == []
    assert len(patient.doctor().findings()) == lost - 1  # one is as a crash leaves it
    patient.run_on()
    assert patient.holds() == ward.whole


def test_holes_spark_does_not_read_any_more_are_harmless(patient: Patient) -> None:
    patient.checkpoint().offsets_file(0).unlink()
    patient.checkpoint().commits_file(1).unlink()
    assert patient.checkpoint().last > 2
    patient.checkpoint().offsets_file(1).unlink()
    shutil.copy(patient.offsets(), patient.checkpoint().offsets_file(0))
    found = patient.doctor().findings()
    assert {one.harm for one in found} == {Harm.NONE}
    assert {one.where for one in found} == {"checkpoints/main/offsets", "checkpoints/main/commits"}


def test_a_checkpoint_without_its_lake_is_found_and_everything_is_read_again(ward: Ward, patient: Patient) -> None:
    shutil.rmtree(patient.home / "lake")
    shutil.rmtree(patient.checkpoint(JOIN).folder)
    with pytest.raises(DamageFound, match="no table holds any"):
        patient.preflight()
    assert patient.mended().left == []
    patient.run_on()
    assert patient.holds() == ward.whole


# --- a batch that was not finished, and forgotten --------------------------------------------------------------------------------


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    """Commits that fail, in a run that does not try again: as if the process had died there."""
    monkeypatch.setattr(Runner, "_given_up", lambda self, part, error, record, stopped: stopped.append(part.name) or True)
    return Faults(monkeypatch)


def crashed(patient: Patient, faults: Faults, name: str) -> None:
    """The home after a batch of which one table was not written and `offsets` knows nothing."""
    faults.arm(name)
    with pytest.raises(FlowFailed):
        patient.run_on()
    assert [table for table, _ in faults.fired] == [name]
    assert not patient.commits().exists()
    patient.offsets().unlink()


@pytest.mark.parametrize("name", [ORDERS.table.name, SALES.name, LEDGER.name, VIEWS.bronze.name])
def test_a_forgotten_batch_that_was_not_finished_is_retraced_from_bronze(ward: Ward, patient: Patient, faults: Faults, name: str) -> None:
    crashed(patient, faults, name)
    (found,) = patient.findings()
    assert found.harm is Harm.SILENT
    assert patient.mended().left == []
    patient.run_on()
    assert patient.holds() == ward.whole


def test_a_forgotten_batch_that_gold_has_and_bronze_has_not_is_left_for_a_rebuild(patient: Patient, faults: Faults) -> None:
    crashed(patient, faults, ORDERS.bronze.name)
    (left,) = patient.mended().left
    assert left.harm is Harm.SILENT
    assert left.remedy.startswith(f"Run `promolake rebuild {SALES.name}`, then the doctor again")
    with pytest.raises(DamageFound, match=f"promolake rebuild {SALES.name}"):
        patient.preflight()


# --- the join's checkpoint -------------------------------------------------------------------------------------------------------


def join_pair_lost(patient: Patient) -> None:
    """With all before it back to the last batch that gave a row."""
    log = patient.checkpoint(JOIN)
    written = patient.lake.transaction(ATTRIBUTED, f"{JOIN}@{log.id}")
    for number in range(written, log.last + 1):
        log.commits_file(number).unlink()
        log.offsets_file(number).unlink()


def join_commit_cut(patient: Patient) -> None:
    patient.commits(query=JOIN).write_text("")


def join_offsets_cut(patient: Patient) -> None:
    patient.offsets(query=JOIN).write_text("")


def join_metadata_lost(patient: Patient) -> None:
    patient.checkpoint(JOIN).metadata_file.unlink()


@pytest.mark.parametrize("damage", [join_pair_lost, join_commit_cut, join_offsets_cut, join_metadata_lost], ids=lambda d: d.__name__)
def test_a_damaged_join_is_mended_or_begins_anew(ward: Ward, patient: Patient, damage: Callable[[Patient], None]) -> None:
    damage(patient)
    found = patient.findings()
    assert {one.where.split("/")[1] for one in found} == {JOIN}
    assert patient.mended().left == []
    patient.run_on()
    assert patient.holds() == ward.whole


def test_a_join_without_its_checkpoint_begins_anew_by_itself(ward: Ward, patient: Patient) -> None:
    shutil.rmtree(patient.checkpoint(JOIN).folder)
    assert patient.doctor().findings() == []
    patient.run_on()
    assert patient.holds() == ward.whole


def test_a_join_its_tables_have_gone_on_without_begins_anew(ward: Ward, patient: Patient) -> None:
    table = DeltaTable(str(patient.log(VIEWS.table.name).parent))
    table.create_checkpoint()
    log = patient.checkpoint(JOIN)
    for file in map(log.offsets_file, log.offsets):
        assert f'"reservoirId":"{table.metadata().id}"' in file.read_text()
        file.write_text(re.sub(r'"reservoirVersion":\d+', '"reservoirVersion":1', file.read_text()))
        file.with_name(f".{file.name}.crc").unlink()
    (patient.log(VIEWS.table.name) / f"{1:020d}.json").unlink()  # as a log that is cleared after some days
    (found,) = patient.findings()
    assert found.what.startswith("has to read version 1 of silver.views, which is no longer kept")
    assert patient.mended().left == []
    patient.run_on()
    assert patient.holds() == ward.whole


# --- tables: the damages of reliability.md 2.9 -----------------------------------------------------------------------------------


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def cut_in_a_line(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-30])


def cut_after_a_line(file: Path) -> None:
    file.write_bytes(file.read_bytes().splitlines()[0])


EACH = [ORDERS.bronze, ORDERS.table, VIEWS.table, SALES, FUNNEL, LEDGER]


@pytest.mark.parametrize("damage", [emptied, cut_in_a_line, cut_after_a_line], ids=lambda damage: damage.__name__)
def test_lost_newest_commits_are_found_mended_and_run_on(ward: Ward, patient: Patient, damage: Callable[[Path], None]) -> None:
    for table in (*EACH, ATTRIBUTED):
        damage(patient.newest(table.name))
    found = {one.where.removeprefix("lake "): one for one in patient.findings()}
    assert {table.name for table in (*EACH, ATTRIBUTED)} <= found.keys()
    assert {found[table.name].harm for table in EACH} == {Harm.LOUD if damage is cut_in_a_line else Harm.SILENT}
    if damage is not cut_in_a_line:
        with pytest.raises(DamageFound, match="its rows are missing"):
            patient.preflight()
    assert patient.mended().left == []
    patient.preflight()
    patient.run_on()
    assert patient.holds() == ward.whole
    assert patient.doctor().findings() == []


@pytest.mark.parametrize("table", [ORDERS.bronze, VIEWS.table], ids=lambda table: table.name)
def test_a_newest_commit_that_is_gone_altogether_is_known_to_the_ledger(ward: Ward, patient: Patient, table) -> None:
    patient.newest(table.name).unlink()
    (found,) = patient.findings()
    assert (found.where, found.harm) == (f"lake {table.name}", Harm.SILENT)
    assert patient.mended().left == []
    patient.run_on()
    assert patient.holds() == ward.whole


def test_a_lost_commit_of_an_older_batch_is_found_again_in_bronzes_data_files(ward: Ward, patient: Patient) -> None:
    emptied(patient.newest(ORDERS.bronze.name, back=1))
    (found,) = patient.findings()
    assert found.harm is Harm.SILENT
    assert patient.mended().left == []
    patient.run_on()
    assert patient.holds() == ward.whole


@pytest.mark.parametrize("table", [ORDERS.table, SALES], ids=lambda table: table.name)
def test_a_lost_commit_of_an_older_batch_elsewhere_is_left_for_a_rebuild_and_none_is_mended(patient: Patient, table) -> None:
    emptied(patient.newest(table.name, back=1))
    held = patient.holds()
    (left,) = patient.mended().left
    assert (left.where, left.harm, left.remedy) == (f"lake {table.name}", Harm.SILENT, f"Run `promolake rebuild {table.name}`.")
    assert patient.holds() == held
    with pytest.raises(DamageFound, match=f"promolake rebuild {table.name}"):
        patient.preflight()
    patient.lake.overwrite(table, patient.lake.read(table, table.column_names))  # as a rebuild does
    assert patient.doctor().findings() == []
    patient.preflight()


def test_a_commit_missing_in_the_middle_closes_the_table(patient: Patient) -> None:
    patient.newest(SALES.name, back=1).unlink()
    (found,) = patient.findings()
    assert (found.harm, found.mend) == (Harm.LOUD, None)
    assert found.remedy.endswith(f"`promolake rebuild {SALES.name}`.")


def junk_checkpoint(patient: Patient, name: str) -> None:
    DeltaTable(str(patient.log(name).parent)).create_checkpoint()
    (file,) = patient.log(name).glob("*.checkpoint.parquet")
    file.write_bytes(b"junk")


@pytest.mark.parametrize("table", [ORDERS.bronze, SALES, LEDGER], ids=lambda table: table.name)
def test_an_unreadable_log_checkpoint_is_taken_away_when_its_commits_are_there(ward: Ward, patient: Patient, table) -> None:
    held = patient.holds()
    junk_checkpoint(patient, table.name)
    found = patient.findings()
    assert (found[0].where, found[0].harm) == (f"lake {table.name}", Harm.LOUD)
    assert patient.mended().left == []
    assert patient.holds() == held


def test_an_unreadable_log_checkpoint_stays_when_a_commit_is_gone(patient: Patient) -> None:
    junk_checkpoint(patient, SALES.name)
    patient.newest(SALES.name, back=1).unlink()
    left = patient.mended().left
    assert {one.where for one in left} == {f"lake {SALES.name}"}
    assert len(list(patient.log(SALES.name).glob("*.checkpoint.parquet"))) == 1


@pytest.mark.parametrize("is_there", [True, False])
def test_a_bad_hint_is_taken_away(patient: Patient, is_there: bool) -> None:
    held = patient.holds()
    DeltaTable(str(patient.log(SALES.name).parent)).create_checkpoint()
    if is_there:
        (patient.log(SALES.name) / "_last_checkpoint").write_text("{bad")
    else:
        next(patient.log(SALES.name).glob("*.checkpoint.parquet")).unlink()
    (found,) = patient.doctor().findings()
    assert found.where == f"lake {SALES.name} _last_checkpoint"
    assert found.harm is (Harm.NONE if is_there else Harm.LOUD)
    assert patient.mended().left == []
    assert patient.holds() == held


@pytest.mark.parametrize("is_cut", [True, False])
def test_a_data_file_that_is_missing_or_cut_off_is_named(patient: Patient, is_cut: bool) -> None:
    for table in (ORDERS.bronze, VIEWS.table):
        file = Path(DeltaTable(str(patient.log(table.name).parent)).file_uris()[0])
        file.write_bytes(file.read_bytes()[:100]) if is_cut else file.unlink()
    left = {one.where: one for one in patient.mended().left}
    assert left.keys() == {f"lake {ORDERS.bronze.name}", f"lake {VIEWS.table.name}"}
    assert {one.harm for one in left.values()} == {Harm.LOUD}
    assert left[f"lake {VIEWS.table.name}"].remedy == f"Run `promolake rebuild {VIEWS.table.name}`."


def test_an_empty_orphan_is_only_noted(patient: Patient) -> None:
    (patient.log(SALES.name).parent / "part-00000-nothing.snappy.parquet").touch()
    (found,) = patient.doctor().findings()
    assert found.harm is Harm.NONE
    patient.preflight()


def test_what_a_mend_takes_away_is_kept(patient: Patient) -> None:
    emptied(patient.newest(ORDERS.bronze.name))
    patient.commits().write_text("")
    damaged = [patient.newest(ORDERS.bronze.name), patient.commits()]
    backup = patient.mended().backup
    assert all((backup / file.relative_to(patient.home)).exists() for file in damaged)
    assert pc.sum(patient.lake.read(LEDGER, ["read_count"])["read_count"]).as_py() > 0
