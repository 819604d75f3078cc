"""Which view and search led to a paid line: right after every `run --once`, in whatever order the events arrive."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import Any
from unittest.mock import Mock

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from day import settings_for
from promolake.core.table import Table
from promolake.engine import joining, rebuilding
from promolake.engine.arrow import arrow_schema, conformed
from promolake.engine.intake import Intake
from promolake.engine.joining import JoinQuery, Unfed
from promolake.engine.lakehouse import Lakehouse, Txn
from promolake.engine.query_log import QueryLog
from promolake.engine.runner import Runner, chosen
from promolake.engine.session import join_session
from promolake.gold.attributed_orders import FLOW, TABLE
from promolake.hallway import HALLWAY
from promolake.silver.orders import FLOW as ORDERS
from promolake.silver.searches import FLOW as SEARCHES
from promolake.silver.views import FLOW as VIEWS

NOON = datetime(2026, 11, 11, 12, tzinfo=UTC)
REACH = timedelta(minutes=30)
MATCH = ("view_id", "viewed_at", "search_id", "searched_at")
pytestmark = pytest.mark.spark


def at(minute: float) -> datetime:
    return NOON + timedelta(minutes=minute)


def order(event_id: str, minute: float, user: str | None = "u1", product: str = "p1", status: str = "PAID") -> tuple[Table, dict[str, Any]]:
    row = {"event_id": event_id, "event_time": at(minute), "order_id": f"order of {event_id}", "line_number": 1, "user_hash": user}
    return ORDERS.table, row | {"product_id": product, "currency": "CNY", "line_amount": Decimal("19.9000"), "status": status}


def view(event_id: str, minute: float, user: str | None = "u1", product: str = "p1") -> tuple[Table, dict[str, Any]]:
    return VIEWS.table, {"event_id": event_id, "event_time": at(minute), "user_hash": user, "product_id": product}


def search(event_id: str, minute: float, user: str | None = "u1") -> tuple[Table, dict[str, Any]]:
    return SEARCHES.table, {"event_id": event_id, "event_time": at(minute), "user_hash": user}


class Shop:
    """A lake whose silver tables grow by arrivals, and the join that runs over it."""

    def __init__(self, home: Path, spark: SparkSession) -> None:
        self.settings = settings_for(home)
        self.lake = Lakehouse(self.settings.lake, lambda: spark)
        self.lake.create([*(reads.table for reads in FLOW.reads), TABLE])
        self._spark = spark
        self._arrivals = 0

    def arrive(self, *events: tuple[Table, dict[str, Any]]) -> None:
        self._arrivals += 1
        came = {"ingested_at": NOON + timedelta(days=1, seconds=self._arrivals)}
        for table in (reads.table for reads in FLOW.reads):
            rows = [row | came for one, row in events if one is table]
            self.lake.append(table, pa.Table.from_pylist(rows, schema=arrow_schema(table)), Txn("arrivals", self._arrivals))

    def run_once(self) -> None:
        Runner(self.settings, "nobody:1", self._spark, chosen(HALLWAY, [TABLE.name]), "joins", print).run(once=True)

    def query(self, spark: SparkSession | None = None) -> JoinQuery:
        spool = self.settings.home / "spool" / "joins"
        return JoinQuery(FLOW, spark or join_session(self._spark), self.lake, spool, self.settings.intake(TABLE.short), Event())

    def stream(self) -> None:
        """What the streaming query alone does, without the settling."""
        query = self.query()
        query.start(self.settings.checkpoint(query.name), {"availableNow": True}).awaitTermination(120)

    def state_format(self) -> str:
        """Of the join's state, as the checkpoint has it: it holds whatever the session says."""
        newest = max((self.settings.checkpoint(TABLE.short) / "offsets").glob("[0-9]*"), key=lambda file: int(file.name))
        return json.loads(newest.read_text().splitlines()[1])["conf"]["spark.sql.streaming.join.stateFormatVersion"]

    def matches(self) -> dict[str, tuple[Any, ...]]:
        rows = self.lake.read(TABLE, TABLE.column_names).to_pylist()
        found = {row["event_id"]: tuple(row[name] for name in MATCH) for row in rows}
        assert len(found) == len(rows), "a line stands twice"
        return found


@pytest.fixture
def shop(tmp_path: Path, spark: SparkSession) -> Shop:
    return Shop(tmp_path, spark)


def attributed(events: list[tuple[Table, dict[str, Any]]]) -> dict[str, tuple[Any, ...]]:
    """The same in the plainest words: for each paid line the latest of each, and of equals the greater id."""
    found = {}
    for line in (row for table, row in events if table is ORDERS.table and row["status"] == "PAID"):
        match: list[Any] = []
        for touched in (VIEWS.table, SEARCHES.table):
            near = [
                (row["event_time"], row["event_id"])
                for table, row in events
                if table is touched
                and row["user_hash"] == line["user_hash"] is not None
                and row.get("product_id", line["product_id"]) == line["product_id"]
                and line["event_time"] - REACH <= row["event_time"] <= line["event_time"]
            ]
            when, which = max(near, default=(None, None))
            match += [which, when]
        found[line["event_id"]] = tuple(match)
    return found


def test_events_in_the_most_awkward_order_end_right_after_each_run_once(shop: Shop) -> None:
    first = [
        order("o-before-its-view", 40),
        order("o-guest", 41, user=None),
        order("o-placed-only", 42, status="PLACED"),
        view("v-guest", 40, user=None),
        view("v-exactly-30-before", 10),
        view("v-a-moment-too-early", 9.999),
        search("s-at-the-same-instant", 40),
    ]
    shop.arrive(*first)
    shop.run_once()
    assert shop.matches() == attributed(first)
    assert shop.matches()["o-before-its-view"][0] == "v-exactly-30-before"
    assert shop.matches()["o-guest"] == (None, None, None, None)
    # Five hours on, the watermark has passed: the stream itself leaves out what comes now for noon.
    later = [order("o-evening", 340), view("v-evening", 335)]
    late = [view("v-late", 39), view("v-late-tie", 39), order("o-late", 60), search("s-of-another", 55, user="u2"), search("s-late", 59)]
    shop.arrive(*later)
    shop.stream()
    shop.arrive(*late)
    shop.stream()
    assert "o-late" not in shop.matches(), "nothing was late"
    shop.run_once()
    assert shop.matches() == attributed([*first, *later, *late])
    assert shop.matches()["o-before-its-view"][0] == "v-late-tie"
    assert shop.matches()["o-late"] == ("v-late-tie", at(39), "s-late", at(59))
    version = shop.lake.version(TABLE)
    shop.run_once()  # nothing new: nothing is written
    assert shop.lake.version(TABLE) == version


def test_random_events_in_random_order_end_as_a_plain_recomputation(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the rows to settle are few and read here or many and read by Spark."""
    random, events = Random(7), []
    for n in range(150):
        who, what = random.choice(["u1", "u2", None]), random.choice(["p1", "p2"])
        minute = random.randrange(0, 200, 5) + random.choice([0, 0.5])
        events.append(random.choice([order(f"o{n}", minute, who, what), view(f"v{n}", minute, who, what), search(f"s{n}", minute, who)]))
    random.shuffle(events)
    for low, high, few in ((0, 90, rebuilding.ROWS_BY_HAND), (90, 150, 0)):
        monkeypatch.setattr(rebuilding, "ROWS_BY_HAND", few)
        shop.arrive(*events[low:high])
        shop.run_once()
        assert shop.matches() == attributed(events[:high])


def test_a_better_match_takes_the_place_of_the_row_the_stream_gave_before(shop: Shop) -> None:
    shop.arrive(order("o1", 40), search("s1", 20), search("s2", 30))
    shop.stream()
    assert shop.matches() == {"o1": (None, None, "s2", at(30))}
    shop.arrive(view("v1", 35))
    shop.stream()
    assert shop.matches() == {"o1": ("v1", at(35), "s2", at(30))}
    shop.arrive(view("v0", 32), search("s0", 25))  # later to come, earlier to happen
    shop.stream()
    assert shop.matches() == {"o1": ("v1", at(35), "s2", at(30))}


def test_of_what_had_waited_spark_hands_over_one_candidate_a_line_and_of_what_comes_then_all(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Days of candidates do not fit into the driver; those of a trigger are cheaper to take as they are."""
    handed_over: list[int] = []
    monkeypatch.setattr(joining, "conformed", lambda rows, table: handed_over.append(rows.num_rows) or conformed(rows, table))
    waited = [order("o1", 40), *(view(f"v{n}", 30 + n) for n in range(9))]
    comes = [order("o2", 41), *(view(f"w{n}", 30 + n) for n in range(7))]
    query = shop.query()
    shop.arrive(*waited)
    running = query.start(shop.settings.checkpoint(query.name), {"processingTime": "0 seconds"})
    try:
        running.processAllAvailable()
        assert max(handed_over) == 1
        shop.arrive(*comes)
        query.feed()
        running.processAllAvailable()
        assert max(handed_over) > 7
    finally:
        running.stop()
    assert shop.matches() == attributed([*waited, *comes])


def test_the_stream_alone_ends_as_a_plain_recomputation_and_forgets_what_is_out_of_reach(shop: Shop) -> None:
    """Five hours of events up to nine minutes out of order, in twenty batches, over a restart: nothing is settled afterwards."""
    random, events = Random(11), []
    for n in range(900):
        who, what = random.choice(["u1", "u2", "u3", None]), random.choice(["p1", "p2"])
        minute = random.randrange(0, 300) + random.choice([0, 0.5])
        make = random.choice([order, view, search])
        event = make(f"{make.__name__}-{n}", minute, who) if make is search else make(f"{make.__name__}-{n}", minute, who, what)
        events.append((minute + random.uniform(0, 9), event))
    arriving = [event for _, event in sorted(events, key=lambda one: one[0])]
    end = [order("end", 500), view("end", 500), search("end", 500)]
    forgotten = 0
    for part in (arriving[:450], [*arriving[450:], *end]):
        query = shop.query()
        running = query.start(shop.settings.checkpoint(query.name), {"processingTime": "0 seconds"})
        try:
            for first in range(0, len(part), 45):
                shop.arrive(*part[first : first + 45])
                query.feed()
                running.processAllAvailable()
            forgotten += sum(one["numRowsRemoved"] for done in running.recentProgress for one in done["stateOperators"])
        finally:
            running.stop()
    assert shop.matches() == attributed([*arriving, *end])
    log = QueryLog(shop.settings.checkpoint(query.name))
    assert log.last > 40
    assert len(log.offsets) < 25, "of its state a join keeps twenty batches, not Spark's hundred (DECISIONS.md)"
    touches = [row for table, row in arriving if table is not ORDERS.table and row["user_hash"]]
    assert forgotten == len(touches)  # Spark does not count the lines it lets go


def test_a_checkpoint_keeps_the_state_of_earlier_releases_and_taken_away_begins_with_todays(shop: Shop, spark: SparkSession) -> None:
    earlier = join_session(spark)
    earlier.conf.set("spark.sql.streaming.join.stateFormatVersion", "2")
    query = shop.query(earlier)
    shop.arrive(order("o1", 40), view("v1", 35))
    query.start(shop.settings.checkpoint(query.name), {"availableNow": True}).awaitTermination(120)
    shop.arrive(order("o2", 41), search("s1", 39))
    shop.stream()
    expected = {"o1": ("v1", at(35), "s1", at(39)), "o2": ("v1", at(35), "s1", at(39))}
    assert (shop.matches(), shop.state_format()) == (expected, "2")
    shutil.rmtree(shop.settings.checkpoint(query.name))
    shop.stream()
    assert (shop.matches(), shop.state_format()) == (expected, "4"), "a batch of format 2 looks at all that stands (DECISIONS.md)"


def test_a_running_join_is_fed_before_each_trigger_and_what_it_has_read_is_forgotten(
    shop: Shop, until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And over a restart it goes on behind what is no longer there."""
    monkeypatch.setattr(joining, "_FORGET_EVERY", 1)
    events: list[tuple[Table, dict[str, Any]]] = []
    stored = shop.settings.intake(TABLE.short)

    def is_all_matched() -> bool:
        return shop.matches() == attributed(events)

    for hour in range(2):
        query = shop.query()
        running = query.start(shop.settings.checkpoint(query.name), {"processingTime": "2 seconds"})
        try:
            for minute in (60 * hour + 40, 60 * hour + 41):
                events += [order(f"o{minute}", minute), view(f"v{minute}", minute - 1)]
                shop.arrive(*events[-2:])
                until(is_all_matched)
            until(lambda: not [*stored.rglob("part-*.parquet")])
        finally:
            query.gate.end(running)
            query.close()
    assert shop.matches() == attributed(events)


def test_a_join_that_cannot_be_fed_ends_and_once_it_can_leaves_nothing_out(
    shop: Shop, until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    query, events = shop.query(), [order("o1", 40), view("v1", 35)]
    shop.arrive(*events)
    running = query.start(shop.settings.checkpoint(query.name), {"processingTime": "2 seconds"})
    until(lambda: shop.matches() == attributed(events))
    full = OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as patched:
        patched.setattr(Intake, "take", Mock(side_effect=full))
        events.append(view("v2", 36))
        shop.arrive(events[-1])
        until(lambda: not running.isActive)
        assert (query.unfed, running.exception()) == (full, None)
        with pytest.raises(Unfed) as refused:
            query.start(shop.settings.checkpoint(query.name), {"processingTime": "2 seconds"})
        assert refused.value.__cause__ is full
    shop.stream()
    assert shop.matches() == attributed(events)
    assert shop.matches()["o1"][0] == "v2"


def test_a_run_says_that_its_join_is_not_fed_tries_again_and_ends_whole(
    shop: Shop, spark: SparkSession, until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its start, and while it runs."""
    said: list[str] = []
    take, is_full = Intake.take, Event()

    def taking(intake: Intake) -> None:
        if is_full.is_set():
            raise OSError(errno.ENOSPC, "No space left on device")
        take(intake)

    monkeypatch.setattr(Intake, "take", taking)
    settings = shop.settings.model_copy(update={"engine": shop.settings.engine.model_copy(update={"join_trigger": "2 seconds"})})
    runner = Runner(settings, "nobody:1", spark, chosen(HALLWAY, [TABLE.name]), "joins", said.append)
    events = [order("o1", 40), view("v1", 35)]
    shop.arrive(*events)

    def failures() -> int:
        return sum(line.startswith("attributed_orders failed") and line.endswith(": OSError") for line in said)

    def is_matched() -> bool:
        return shop.matches() == attributed(events)

    is_full.set()
    run = Thread(target=runner.run, daemon=True)
    run.start()
    try:
        for more in (view("v2", 36), view("v3", 37)):
            before = failures()
            is_full.set()
            until(lambda before=before: failures() > before)
            is_full.clear()
            events.append(more)
            shop.arrive(more)
            until(is_matched, 60)
    finally:
        runner.stop()
        run.join(60)
    assert not run.is_alive()
    assert is_matched()


def test_a_join_that_has_to_begin_anew_says_so_and_ends_with_the_same_rows(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.arrive(order("o1", 40), view("v1", 35))
    shop.run_once()
    before = shop.matches()
    assert "begins anew" not in capsys.readouterr().out
    shutil.rmtree(shop.settings.intake(TABLE.short))
    shop.run_once()
    assert "attributed_orders begins anew, with all rows of silver" in capsys.readouterr().out
    assert shop.matches() == before


GOES_ON = {
    "orders go on": lambda n: order(f"o-{n}", 60 * n),
    "views go on": lambda n: view(f"v-{n}", 60 * n),
    "only lines that are not paid go on": lambda n: order(f"o-{n}", 60 * n, status="CANCELLED"),
}


@pytest.mark.parametrize("going_on", GOES_ON.values(), ids=GOES_ON)
def test_a_source_that_falls_silent_keeps_no_line_of_another_waiting(shop: Shop, going_on: Callable[[int], Any]) -> None:
    shop.arrive(order("o1", 40), view("v1", 35), search("s1", 30, user="u2"))
    shop.stream()
    shop.arrive(order("o2", 41, user="u3"), search("s2", 30, user="u2"))
    shop.stream()
    assert "o2" not in shop.matches(), "it may still find a touch"
    for hour in range(2, 6):
        shop.arrive(going_on(hour))
        shop.stream()
    assert shop.matches()["o2"] == (None, None, None, None)


def test_an_id_used_again_on_another_date_is_another_line(shop: Shop) -> None:
    """As silver has it: an event is recognised within the UTC date of its event time."""
    tomorrow = 40 + 24 * 60
    shop.arrive(order("o1", 40), view("v1", 35), order("o1", tomorrow), search("s1", tomorrow - 5))
    shop.stream()
    rows = shop.lake.read(TABLE, ["event_id", "event_time", "view_id", "search_id"]).sort_by("event_time").to_pylist()
    assert [tuple(row.values()) for row in rows] == [("o1", at(40), "v1", None), ("o1", at(tomorrow), None, "s1")]
