"""Every damage of a table is found, and what was mended runs on without a row lost or counted twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from engine.ward import ATTRIBUTED, FUNNEL, ORDERS, SALES, VIEWS, Patient, Ward
from faults import cut_after_a_line, cut_in_a_line, emptied
from promolake.core.errors import DamageFound
from promolake.engine.finding import Harm
from promolake.engine.ledger import LEDGER

pytestmark = [pytest.mark.spark, pytest.mark.broker]


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
