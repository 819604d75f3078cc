"""What `doctor` and `maintain` answer and how they end; what they find and do is tests/engine's."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from promolake.alerts.tables import ALERTS
from promolake.engine.arrow import arrow_schema
from promolake.engine.lakehouse import Lakehouse, Txn
from promolake.engine.ledger import LEDGER
from promolake.engine.lock import writing
from promolake.gold.sales_per_product_per_minute import TABLE as SALES

MIDNIGHT = datetime(2026, 11, 11, tzinfo=UTC)


@pytest.fixture
def sales(home: Path) -> Path:
    """The log of gold.sales_per_product_per_minute, after two commits of rows."""
    lake = Lakehouse(home / "lake")
    for n in (1, 2):
        row = {"window_start": MIDNIGHT + timedelta(minutes=n), "window_end": MIDNIGHT + timedelta(minutes=n + 1), "currency": "CNY"}
        row |= {"product_id": f"p{n}", "sales_amount": Decimal("0.1000") * n, "unit_count": n, "sale_count": 1}
        lake.upsert(SALES, pa.Table.from_pylist([row], schema=arrow_schema(SALES)), Txn("test", n))
    return Path(lake.path(SALES)) / "_delta_log"


def test_a_sound_home_is_told_in_a_word(promolake, sales: Path) -> None:
    for arguments in (["doctor"], ["doctor", "--mend"]):
        answer = promolake(*arguments)
        assert (answer.code, answer.out) == (0, "healthy\n")


def test_damage_ends_with_8_and_names_the_place_the_harm_and_the_remedy(promolake, sales: Path) -> None:
    (sales / f"{1:020d}.json").write_bytes(b"")
    for arguments in (["doctor"], ["doctor", "--mend"]):
        answer = promolake(*arguments)
        assert answer.code == 8
        assert answer.out == (
            f"silent  lake {SALES.name}: commit 1 is empty: its rows are missing, and readers do not notice. "
            f"Run `promolake rebuild {SALES.name}`.\n"
        )


def test_what_can_be_mended_is_offered_then_mended_and_kept(promolake, sales: Path, home: Path) -> None:
    (sales / f"{2:020d}.json").write_bytes(b"")
    offered = promolake("doctor")
    assert offered.code == 8
    assert offered.out.endswith("Remove it: no batch is missing. `promolake doctor --mend` does it.\n")
    mended = promolake("doctor", "--mend")
    assert mended.code == 0
    assert mended.out.startswith(f"mended  lake {SALES.name}: commit 2 is empty")
    (kept,) = (home / "doctor").iterdir()
    assert str(kept) in mended.out
    assert (kept / "lake/gold/sales_per_product_per_minute/_delta_log" / f"{2:020d}.json").exists()
    assert promolake("doctor").code == 0


def test_json_says_the_same_to_machines(promolake, sales: Path) -> None:
    (sales / f"{2:020d}.json").write_bytes(b"")
    answer = promolake("doctor", "--json")
    assert answer.code == 8
    (finding,) = json.loads(answer.out)["findings"]
    assert finding.keys() == {"where", "what", "harm", "remedy", "can_mend"}
    assert (finding["harm"], finding["can_mend"]) == ("silent", True)
    mended = json.loads(promolake("doctor", "--mend", "--json").out)
    assert (mended["findings"], mended["mended"]) == ([], [finding])


def test_harmless_findings_end_well(promolake, sales: Path) -> None:
    (sales.parent / "part-00000-nothing.snappy.parquet").touch()
    answer = promolake("doctor")
    assert answer.code == 0
    assert answer.out.startswith("harmless  lake ")


def test_beside_a_stream_doctor_only_looks_and_maintain_is_refused(promolake, sales: Path, home: Path) -> None:
    with writing(home, [SALES, LEDGER]):
        assert promolake("doctor").code == 0
        assert promolake("doctor", "--mend").code == 4
        assert promolake("maintain").code == 4


def test_maintain_takes_the_tables_there_are_or_those_named(promolake, sales: Path) -> None:
    assert promolake("maintain").out == "1 tables maintained.\n"
    assert promolake("maintain", SALES.name).out == "1 tables maintained.\n"
    unknown = promolake("maintain", "gold.sales_per_hour")
    assert unknown.code == 2
    assert "There is no table gold.sales_per_hour." in unknown.err


def test_what_the_alerts_keep_is_looked_at_too(promolake, sales: Path, home: Path) -> None:
    lake = Lakehouse(home / "lake")
    for n in (1, 2):
        alert = dict.fromkeys(ALERTS.column_names) | {"alert_id": f"a{n}", "ingested_at": MIDNIGHT}
        lake.append(ALERTS, pa.Table.from_pylist([alert], schema=arrow_schema(ALERTS)), Txn("test", n))
    (Path(lake.path(ALERTS)) / "_delta_log" / f"{2:020d}.json").write_bytes(b"")
    assert promolake("doctor").code == 8
    assert promolake("doctor", "--mend").out.startswith("mended  lake ops.alerts: commit 2 is empty")
    assert sorted(Lakehouse(home / "lake").read(ALERTS, ("alert_id",))["alert_id"].to_pylist()) == ["a1", "a2"]
    outbox = home / "state" / "outbox.sqlite"
    outbox.parent.mkdir(exist_ok=True)
    outbox.write_bytes(b"")
    answer = promolake("doctor")
    assert (answer.code, "the outbox is empty" in answer.out) == (8, True)
