"""Every damage of a checkpoint is found, and what was mended runs on without a row lost or counted twice."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import pytest
from deltalake import DeltaTable

from engine.ward import ATTRIBUTED, JOIN, ORDERS, SALES, SCAN, VIEWS, Patient, Ward
from faults import Faults
from promolake.core.errors import DamageFound, FlowFailed, HomeInUse
from promolake.engine import runner
from promolake.engine.delta_log import FOLDER
from promolake.engine.doctor import Doctor, Mended, preflight
from promolake.engine.finding import Harm
from promolake.engine.ledger import LEDGER
from promolake.engine.lock import writing
from promolake.engine.runner import Runner
from promolake.hallway import HALLWAY

pytestmark = [pytest.mark.spark, pytest.mark.broker]


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
    patient.run()
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
        patient.run()
    monkeypatch.setattr(runner, "preflight", lambda *_: None)
    patient.run()
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
        patient.run()
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


def silver_is_cleared(patient: Patient) -> str:
    """As a log is after some days, and the join was last fed before."""
    table = DeltaTable(str(patient.log(VIEWS.table.name).parent))
    table.create_checkpoint()
    taken = f'"appId":"{table.metadata().id}","version":'
    for file in (patient.intake("views") / FOLDER).glob("*.json"):
        file.write_text(re.sub(rf"{taken}\d+", f"{taken}0", file.read_text()))
    (patient.log(VIEWS.table.name) / f"{1:020d}.json").unlink()
    return "has to read version 1 of silver.views, which is no longer kept"


def silver_is_damaged(patient: Patient) -> str:
    """And nobody else reads that commit any more."""
    silver_is_cleared(patient)
    file = patient.log(VIEWS.table.name) / f"{1:020d}.json"
    file.write_text('{"commitInfo":{"engineInfo":"promolake","operationMetrics":{"num_added_files":1}}}\n')
    return "has to read version 1 of silver.views, which is cut off"


def intake_is_cleared(patient: Patient) -> str:
    table = DeltaTable(str(patient.intake("views")))
    table.create_checkpoint()
    log = patient.checkpoint(JOIN)
    for file in map(log.offsets_file, log.offsets):
        assert f'"reservoirId":"{table.metadata().id}"' in file.read_text()
        file.write_text(re.sub(r'"reservoirVersion":\d+', '"reservoirVersion":1', file.read_text()))
        file.with_name(f".{file.name}.crc").unlink()
    for name in ("orders", "views", "searches"):
        DeltaTable(str(patient.intake(name))).create_checkpoint()
        (patient.intake(name) / FOLDER / f"{1:020d}.json").unlink()
    return "has to read version 1 of intake.orders, which is no longer kept"


@pytest.mark.parametrize("cleared", [silver_is_cleared, silver_is_damaged, intake_is_cleared], ids=lambda cleared: cleared.__name__)
def test_a_join_its_tables_have_gone_on_without_begins_anew(ward: Ward, patient: Patient, cleared: Callable[[Patient], str]) -> None:
    expected = cleared(patient)
    (found,) = patient.findings()
    assert found.what.startswith(expected)
    assert patient.mended().left == []
    patient.run_on()
    assert patient.holds() == ward.whole


def test_a_join_of_a_release_without_an_intake_begins_anew_by_itself(ward: Ward, patient: Patient) -> None:
    shutil.rmtree(patient.intake("views").parents[1])
    assert patient.findings() == []
    patient.run_on()
    assert patient.holds() == ward.whole
