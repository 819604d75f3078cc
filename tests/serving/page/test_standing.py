"""How everything stands is read from what is committed, and what is not known is not guessed."""

from __future__ import annotations

import dataclasses
import shutil
from datetime import timedelta

import pytest

from promolake.serving.page.outside import Query
from promolake.serving.page.standing import Quarantined
from serving.conftest import Lake
from serving.page.home import SECRET, seconds
from serving.page.world import TOPICS, World


def of(world: World, name: str = "shop.orders"):
    return next(topic for topic in world.now().topics if topic.name == name)


def test_a_topics_counts_are_the_ledgers_with_its_corrections(world: World) -> None:
    topic = of(world)
    assert (topic.read, topic.valid, topic.quarantined, topic.duplicate, topic.late) == (160, 146, 10, 4, 2)
    assert topic.read == topic.valid + topic.quarantined + topic.duplicate


def test_what_was_first_judged_only_ever_grows_whatever_is_let_out_of_quarantine(world: World) -> None:
    assert of(world).first == {"valid": 145, "quarantined": 11, "duplicate": 4}


def test_the_rate_is_what_batches_of_the_last_minute_read(world: World) -> None:
    assert of(world).per_second == 1.0  # 60 records of 10 s ago; those of an hour ago are not counted
    world.change(at=seconds(-120))
    assert of(world).per_second == 0.0


def test_the_lag_is_the_brokers_ends_less_those_of_the_newest_finished_batch(world: World) -> None:
    assert of(world).lag == 30
    assert of(world, "shop.views").lag == 0


def test_without_an_answer_of_the_broker_the_lag_is_not_known_rather_than_0(world: World) -> None:
    world.change(ends=None)
    assert of(world).lag is None


def test_with_a_checkpoint_that_cannot_be_read_the_lag_is_not_known(world: World) -> None:
    world.change(queries=(Query("main", 2, 2, ends=None),))
    assert of(world).lag is None


def test_with_a_ledger_that_cannot_be_read_nothing_is_counted_as_0(world: World) -> None:
    for file in world.lake.root.joinpath("ops", "ledger").glob("*.parquet"):
        file.unlink()
    topic = of(world)
    assert (topic.read, topic.quarantined, topic.late, topic.per_second, topic.first) == (None, None, None, None, {})
    assert topic.lag == 30  # which the ledger has no part in


def test_a_topic_no_query_has_read_waits_whole(world: World) -> None:
    world.change(queries=())
    assert of(world).lag == 180


def test_times_are_those_of_the_newest_batch_with_records(world: World) -> None:
    assert (of(world).batch_at, of(world).newest_event_time) == (seconds(10), seconds(7))


def test_an_empty_lake_has_every_topic_and_nothing_else(empty: World) -> None:
    standing = empty.now()
    assert tuple(topic.name for topic in standing.topics) == TOPICS
    assert {topic.read for topic in standing.topics} == {0}
    assert (standing.tables, standing.quarantined, standing.alerts, standing.audit) == ((), (), (), None)


def test_a_table_is_said_by_its_log(world: World) -> None:
    tables = {table.name: table for table in world.now().tables}
    gmv = tables["gold.gmv_per_minute"]
    assert (gmv.version, gmv.files, gmv.rows) == (1, 1, 1)
    assert 500 < gmv.bytes < 50_000
    assert gmv.committed_at is not None
    assert tables["ops.ledger"].rows == 4


def test_a_new_commit_is_seen(world: World) -> None:
    standings = world.standings
    before = {table.name: table.rows for table in standings.now().tables}
    world.lake.gmv((2, "CNY", "5", "0"))
    standings.forget()
    after = {table.name: table.rows for table in standings.now().tables}
    assert (before["gold.gmv_per_minute"], after["gold.gmv_per_minute"]) == (1, 2)


def test_all_who_ask_within_some_seconds_get_the_same_look(world: World) -> None:
    standings = world.standings
    assert standings.now() is standings.now()


def test_quarantine_is_counted_by_rule_over_the_last_day_newest_first(world: World) -> None:
    assert world.now().quarantined == (
        Quarantined("shop.orders", "price_not_negative", 2, seconds(20)),
        Quarantined("shop.orders", "currency_code", 1, seconds(20)),
    )


def test_no_payload_and_no_personal_datum_is_in_what_is_looked_at(world: World) -> None:
    text = repr(dataclasses.asdict(world.now()))
    assert SECRET.decode() not in text
    assert "13812345678" not in text


def test_alerts_come_with_their_states_and_the_audit_is_the_newest(world: World) -> None:
    standing = world.now()
    assert [row["alert_id"] for row in standing.alerts] == ["a1"]
    assert standing.states == {("IpFlood", "firing"): 1}
    assert standing.audit.at == seconds(600)
    assert standing.audit.counts == {("critical", False): 1, ("warning", True): 1}
    assert [row["expectation"] for row in standing.audit.broken] == ["gmv_agrees"]


@pytest.mark.parametrize(("next_version", "behind"), [(0, 2), (1, 1), (2, 0), (3, 0)])
def test_a_join_is_behind_by_the_commits_it_has_yet_to_read(world: World, next_version: int, behind: int) -> None:
    standing = world.now()
    gmv = next(table for table in standing.tables if table.name == "gold.gmv_per_minute")
    assert standing.behind(Query("join", 0, 0, reads_next={gmv.id: next_version})) == behind
    assert standing.behind(Query("join", 0, 0, reads_next={"another": 0})) is None


def test_a_batch_is_in_hand_when_it_was_planned_and_not_finished() -> None:
    assert Query("main", 3, 2, planned_at=seconds(5)).in_hand_since == seconds(5)
    assert Query("main", 3, 3, planned_at=seconds(5)).in_hand_since is None


def test_what_is_late_is_said_by_the_engines_own_allowance(world: World) -> None:
    assert world.now().outside.lateness == timedelta(minutes=10)


@pytest.mark.parametrize("table", ["ops.ledger", "ops.alerts", "gold.gmv_per_minute"])
def test_a_damaged_table_is_named_and_takes_nothing_else_with_it(world: World, table: str) -> None:
    for commit in world.lake.root.joinpath(*table.split("."), "_delta_log").glob("*.json"):
        commit.write_text("{")
    standing = world.now()
    assert standing.unreadable == (table,)
    assert len(standing.tables) == 5
    assert len(standing.quarantined) == 2


@pytest.mark.parametrize("table", ["ops.ledger", "silver.quarantine_orders", "ops.audits"])
def test_rows_that_are_gone_are_found_too(world: World, table: str) -> None:
    for file in world.lake.root.joinpath(*table.split(".")).glob("*.parquet"):
        file.unlink()
    assert world.now().unreadable == (table,)


def test_a_table_put_in_place_anew_is_looked_at_anew(world: World) -> None:
    standings = world.standings
    standings.now()
    shutil.rmtree(world.lake.root / "gold" / "gmv_per_minute")
    standings.forget()
    assert "gold.gmv_per_minute" not in {table.name for table in standings.now().tables}
    Lake(world.lake.root).gmv((1, "CNY", "1", "0"), (2, "CNY", "1", "0"))
    standings.forget()
    standings.now()
    standings.forget()
    assert {table.name: table.rows for table in standings.now().tables}["gold.gmv_per_minute"] == 2
