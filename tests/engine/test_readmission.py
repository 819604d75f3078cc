"""Quarantined rows go through again once the rule is mended: once, whatever fails on the way, and the ledger says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow.compute as pc
import pytest
from pyspark.sql import SparkSession

from day import STREAMED, Day, rows_of, run_once, settings_for
from faults import Faults
from promolake.core.flow import Hallway
from promolake.core.rule import Rule
from promolake.engine.lakehouse import Lakehouse
from promolake.engine.lateness import RESTATEMENTS
from promolake.engine.ledger import LEDGER
from promolake.engine.query_log import scan_names
from promolake.engine.rebuilding import Rebuilder
from promolake.engine.runner import Runner, chosen
from promolake.settings import Settings, pseudonym_key

FLOWS = chosen(STREAMED, ["gmv_per_minute", "sales_per_product_per_minute"])
(ORDERS,) = FLOWS.ingests
TOO_STRICT = Rule("one_unit_only", "A rule somebody got wrong.", lambda line: line("quantity") < 2)
MISTAKEN = replace(FLOWS, ingests=(replace(ORDERS, rules=(*ORDERS.rules, TOO_STRICT)),))

pytestmark = [pytest.mark.spark, pytest.mark.broker]


def ids(lake: Lakehouse) -> list[str]:
    return sorted(lake.read(ORDERS.table, ["event_id"])["event_id"].to_pylist())


def reasons(lake: Lakehouse) -> list[list[str]]:
    return sorted(lake.read(ORDERS.quarantine, ["violations"])["violations"].to_pylist())


def books(lake: Lakehouse) -> list[int]:
    rows = lake.read(LEDGER, LEDGER.column_names)
    rows = rows.filter(pc.equal(rows["topic"], ORDERS.topic.name))
    return [pc.sum(rows[f"{fate}_count"]).as_py() for fate in ("read", "valid", "quarantined", "duplicate")]


def assert_as_if_never_mistaken(lake: Lakehouse, undisturbed: Lakehouse) -> None:
    assert ids(lake) == ids(undisturbed)
    assert reasons(lake) == reasons(undisturbed)
    assert books(lake) == books(undisturbed)
    for metric in FLOWS.metrics:
        assert rows_of(lake, metric.table).equals(rows_of(undisturbed, metric.table)), metric.table.name


class Mistaken:
    """A lake whose orders went through a rule that was too strict."""

    def __init__(self, home: Path, day: Day, spark: SparkSession) -> None:
        self.settings: Settings = settings_for(home)
        self._day = day
        self._spark = spark
        self.lake = Lakehouse(self.settings.lake)
        run_once(self.settings, day.bootstrap, spark, MISTAKEN)

    def replay(self, *rules: str, flows: Hallway = FLOWS, dry_run: bool = False) -> tuple[int, int, int]:
        """(looked at, passed, duplicate) of the orders' quarantine."""
        runner = Runner(self.settings, self._day.bootstrap, self._spark, flows, "main", print)
        outcomes = runner.readmit(rules, None, dry_run)
        return next(((one.looked_at, one.passed, one.duplicate) for one in outcomes), (0, 0, 0))


@pytest.fixture
def mistaken(day: Day, spark: SparkSession, tmp_path: Path) -> Mistaken:
    found = Mistaken(tmp_path, day, spark)
    assert ["one_unit_only"] in reasons(found.lake)
    return found


def test_what_a_mended_rule_lets_pass_goes_through_once(mistaken: Mistaken, undisturbed: Lakehouse) -> None:
    before = books(mistaken.lake)
    caught = sum("one_unit_only" in row for row in reasons(mistaken.lake))
    looked_at, passed, duplicate = mistaken.replay("one_unit_only", dry_run=True)
    assert looked_at == caught
    assert passed > 0
    assert books(mistaken.lake) == before, "a dry run wrote"
    assert mistaken.replay("one_unit_only") == (looked_at, passed, duplicate)
    assert_as_if_never_mistaken(mistaken.lake, undisturbed)
    assert pc.sum(mistaken.lake.read(RESTATEMENTS, ["late_count"])["late_count"]).as_py() >= passed
    looked_at, passed, duplicate = mistaken.replay()
    assert (passed, duplicate) == (0, 0), "what is rightly in quarantine stays there"
    assert looked_at == len(reasons(undisturbed))
    assert_as_if_never_mistaken(mistaken.lake, undisturbed)


def test_a_rebuild_after_a_rule_was_mended_comes_to_the_same_and_corrects_the_ledger(
    mistaken: Mistaken, undisturbed: Lakehouse, spark: SparkSession
) -> None:
    key = pseudonym_key(mistaken.settings).get_secret_value().encode()
    lake = Lakehouse(mistaken.settings.lake, lambda: spark)
    rebuilder = Rebuilder(STREAMED, spark, lake, key, scan_names(mistaken.settings.home))
    rebuilder.rebuild([ORDERS.table.name, *(metric.table.name for metric in FLOWS.metrics)], print)
    assert_as_if_never_mistaken(mistaken.lake, undisturbed)
    version = lake.version(LEDGER)
    rebuilder.rebuild([ORDERS.table.name], print)
    assert lake.version(LEDGER) == version, "the books agreed"


def test_while_the_rule_stands_nothing_passes(mistaken: Mistaken) -> None:
    before = reasons(mistaken.lake), ids(mistaken.lake), books(mistaken.lake)
    assert mistaken.replay("one_unit_only", flows=MISTAKEN)[1:] == (0, 0)
    assert (reasons(mistaken.lake), ids(mistaken.lake), books(mistaken.lake)) == before


@pytest.mark.parametrize("failing", ["silver.orders", "gold.sales_per_product_per_minute", "gold.gmv_per_minute", "ops.ledger"])
def test_a_replay_that_was_interrupted_is_finished_by_the_next(
    mistaken: Mistaken, undisturbed: Lakehouse, faults: Faults, failing: str
) -> None:
    faults.arm(failing)
    with pytest.raises(OSError, match="No space left"):
        mistaken.replay("one_unit_only")
    assert [name for name, _ in faults.fired] == [failing]
    mistaken.replay()
    assert_as_if_never_mistaken(mistaken.lake, undisturbed)


def test_a_replay_killed_before_the_rows_left_the_quarantine_adds_nothing_again(
    mistaken: Mistaken, undisturbed: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(Lakehouse, "overwrite", killed)
        with pytest.raises(KeyboardInterrupt):
            mistaken.replay("one_unit_only")
    mistaken.replay("one_unit_only")
    assert_as_if_never_mistaken(mistaken.lake, undisturbed)
