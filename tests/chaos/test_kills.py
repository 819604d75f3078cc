"""kill -9 between any two commits: nothing is lost, nothing is counted twice. This is the sample `make test` takes; see also
test_every_point.py and test_random_kills.py.

The control is the same day in an undisturbed run; the negative control is a writer without transactions, which must be caught.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pyarrow.compute as pc
import pytest
from pyspark.sql import SparkSession

from chaos import oracles, points, traffic
from chaos.ground import Ground, Tally
from chaos.traffic import Sent
from day import run_once, settings_for
from promolake.core.table import Written
from promolake.engine.lakehouse import Lakehouse
from promolake.engine.rebuilding import Rebuilder, Settler
from promolake.engine.runner import chosen
from promolake.engine.verifying import Verifier, scope
from promolake.gold import sales_per_product_per_minute
from promolake.hallway import HALLWAY
from promolake.local.broker import Broker
from promolake.settings import pseudonym_key

MESSAGES = 900
RECORDS_PER_BATCH = 150
TROUBLE = {"POISONED": 0.05, "LATE": 0.03, "DUPLICATED": 0.03}
ORDERS = sales_per_product_per_minute.TABLE.short  # the smallest query there is that counts money


@pytest.fixture(scope="module")
def sent(own_broker: Broker, tally: Tally) -> Sent:
    sent = Sent()
    sent.send(own_broker.status().bootstrap, traffic.day(tally.seed, 4.0, MESSAGES, **TROUBLE))
    return sent


@pytest.fixture(scope="module")
def bootstrap(own_broker: Broker) -> str:
    return own_broker.status().bootstrap


@pytest.fixture(scope="module")
def undisturbed(sent: Sent, bootstrap: str, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lakehouse:
    settings = settings_for(tmp_path_factory.mktemp("undisturbed"))
    run_once(settings, bootstrap, spark, HALLWAY)
    return Lakehouse(settings.lake)


def sample(seed: int) -> Iterator[str]:
    """By chance, but always: all written and Spark not told, adding gold, and replacing gold in the middle of its upsert."""
    random = Random(seed)
    accumulated = random.choice(points.after_gold(Written.ACCUMULATE))
    replaced = random.choice(points.within_gold(Written.REPLACE))
    chosen = [points.BEFORE_COMMIT_LOG, accumulated, replaced]
    random.shuffle(chosen)
    yield from chosen


@pytest.mark.broker
@pytest.mark.spark
def test_the_control_holds_what_was_sent(undisturbed: Lakehouse, sent: Sent, bootstrap: str) -> None:
    oracles.assert_whole(undisturbed, bootstrap, sent, Tally(0))
    oracles.assert_every_sale_is_attributed_once(undisturbed)


@pytest.mark.broker
@pytest.mark.spark
def test_processes_killed_between_commits_leave_what_an_undisturbed_run_leaves(
    undisturbed: Lakehouse, sent: Sent, bootstrap: str, spark: SparkSession, tally: Tally, tmp_path: Path
) -> None:
    ground = Ground(tmp_path / "home", bootstrap, RECORDS_PER_BATCH, tally)
    deaths = list(sample(tally.seed))
    for point in deaths:
        ground.dies(point)
    ground.finishes_in(spark, HALLWAY)
    assert [entry.of for entry in ground.journal() if entry.what == "died"] == deaths
    assert len(ground.replayed()) == len(deaths), "a batch that was left unfinished was not begun again"
    assert any(entry.what == "skipped" for entry in ground.lives()[-1]), "the last replay found nothing committed before it"
    oracles.assert_whole(ground.lake, bootstrap, sent, tally)
    oracles.assert_every_sale_is_attributed_once(ground.lake)
    oracles.assert_gold_is_equal(ground.lake, undisturbed)
    assert oracles.forwarded(bootstrap).keys() == oracles.error_ids(ground.lake)
    killed_at = {table.name for table in points.METRICS if any(point.endswith(table.name) for point in deaths)}
    assert len(killed_at) == 2
    assert_recomputed_alike(ground, spark, sorted(killed_at))


def assert_recomputed_alike(ground: Ground, spark: SparkSession, names: list[str]) -> None:
    """What `promolake verify` says of these tables and the books that feed them, in the session at hand. In make chaos: of all tables."""
    lake = Lakehouse(ground.settings.lake, lambda: spark)
    key = pseudonym_key(ground.settings).get_secret_value().encode()
    settler = Settler(lake, ground.home / "state" / "settled.json")
    verifier = Verifier(HALLWAY, spark, lake, Rebuilder(HALLWAY, spark, lake, key, ()), settler)
    assert [found for found in verifier.verify(scope(HALLWAY, names), None, print) if not found.agrees] == []


@pytest.mark.broker
@pytest.mark.spark
def test_a_writer_without_transactions_is_caught_counting_twice(sent: Sent, bootstrap: str, spark: SparkSession, tmp_path: Path) -> None:
    """The negative control: without it, a green test above would only say that no kill fell between two commits."""
    ground = Ground(tmp_path / "home", bootstrap, MESSAGES, Tally(0))
    ground.dies(points.BEFORE_COMMIT_LOG, f"--only={ORDERS}", unprotected=True)
    ground.finishes_in(spark, chosen(HALLWAY, [ORDERS]), unprotected=True)
    assert ground.replayed() == [("main", 0)]
    _, twice = oracles.by_offset(ground.lake, bootstrap)
    _, again = oracles.by_event_id(ground.lake, sent)
    assert {topic for topic, _, _ in twice} == {"shop.orders"}
    assert sent.ids["shop.orders"] <= set(again)
    amounts = ground.lake.read(sales_per_product_per_minute.TABLE, ["sales_amount"])["sales_amount"]
    sold = oracles.sold(sent)
    assert pc.sum(amounts).as_py() == 2 * sold > 0
