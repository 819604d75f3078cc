"""Runs flows: which share a scan, one lock over what they write, waiting for the broker, and an end that loses nothing."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql.streaming import StreamingQuery

from promolake.core.errors import BrokerAway, FlowFailed, SettingsError
from promolake.core.flow import Hallway
from promolake.core.table import Table
from promolake.core.watch import Watcher
from promolake.engine import kafka
from promolake.engine.doctor import preflight
from promolake.engine.forwarding import Forwarder
from promolake.engine.joining import JoinQuery, Unfed
from promolake.engine.lakehouse import Lakehouse
from promolake.engine.lane import Lane
from promolake.engine.lateness import BOOKS
from promolake.engine.lock import turn, writing
from promolake.engine.lost_records import refuse_lost_records
from promolake.engine.maintenance import Maintenance
from promolake.engine.query_log import QueryLog
from promolake.engine.readmission import Outcome, Readmission
from promolake.engine.rebuilding import Settler
from promolake.engine.scan import Scan
from promolake.engine.session import ended, join_session, scan_session
from promolake.engine.stopped import StoppedTables
from promolake.engine.supervision import FULL_BYTES, Failure, Record, named
from promolake.settings import Settings, pseudonym_key
from promolake.whole_file import write_whole

MAIN = "main"
POLL_SECONDS = 0.2
Say = Callable[[str], None]


def chosen(hallway: Hallway, only: Sequence[str]) -> Hallway:
    """The flows named in `only` (table names with or without layer, `*` allowed), and what they need in the same scan; all by default.

    A metric is fed inside the scan of its topics, so naming it brings their ingests along. Raises SettingsError for an unknown name.
    """
    if not only:
        return hallway

    def named(name: str) -> bool:
        return any(fnmatchcase(name, one) or fnmatchcase(name.split(".")[-1], one) for one in only)

    names = [*(table.name for table in hallway.tables), *(forward.name for forward in hallway.forwards)]
    for one in only:
        if not any(fnmatchcase(name, one) or fnmatchcase(name.split(".")[-1], one) for name in names):
            raise SettingsError(f"There is no flow {one}.", f"Flows: {', '.join(names)}.")
    metrics = tuple(flow for flow in hallway.metrics if named(flow.table.name))
    forwards = tuple(flow for flow in hallway.forwards if named(flow.name))
    needed = {reads.table.name for flow in metrics for reads in flow.reads} | {flow.reads.name for flow in forwards}
    ingests = tuple(
        flow
        for flow in hallway.ingests
        if flow.table.name in needed or any(named(t.name) for t in (flow.bronze, flow.table, flow.quarantine))
    )
    return Hallway(ingests, metrics, tuple(flow for flow in hallway.joins if named(flow.table.name)), forwards)


class Runner:
    """One process's flows over one lake. `query` names the scan, its checkpoint and its transactions."""

    def __init__(
        self,
        settings: Settings,
        bootstrap: str,
        spark: SparkSession,
        flows: Hallway,
        query: str,
        say: Say,
        watchers: Sequence[Watcher] = (),
    ) -> None:
        self._settings = settings
        self._bootstrap = bootstrap
        self._flows = flows
        self._query = query
        self._say = say
        self._watchers = watchers
        self._spark = spark
        self._scan_session = scan_session(spark)
        self._join_session = join_session(spark)
        self.lake = Lakehouse(settings.lake, lambda: spark, settings.engine.spark_above_rows)
        self._stopping = threading.Event()
        self._stopped = StoppedTables(settings.home)

    @property
    def tables(self) -> list[Table]:
        watched = [table for watcher in self._watchers for table in watcher.tables]
        return [*self._flows.tables, *((*BOOKS, *watched) if self._flows.ingests else ())]

    @property
    def _behind(self) -> set[str]:
        """The metrics this run goes on without."""
        return self._stopped.names & {flow.table.name for flow in self._flows.metrics}

    def stop(self) -> None:
        """Asks for an orderly end: the batch in hand is finished first."""
        self._stopping.set()

    def close(self) -> None:
        ended(self._spark)

    def run(self, once: bool = False) -> None:
        """Runs until `stop`, or with `once` until all there is has been taken and the joins are exact.

        Raises HomeInUse, DamageFound, BrokerAway, and at the end FlowFailed when a flow had to be given up.
        """
        with writing(self._settings.home, self.tables):
            self._claim_feeds()
            names = [*([self._query] if self._flows.ingests else []), *(join.table.short for join in self._flows.joins)]
            preflight(self._settings.home, self._settings.lake, self._flows, names)
            for name in self._behind:
                self._say(f"STOPPED: {name} is left out since batch {self._stopped.batch(name)}. Mend it, then: promolake rebuild {name}")
            self.lake.create([*self.tables, *(reads.table for join in self._flows.joins for reads in join.reads)])
            if once:
                self._once()
            else:
                self._forever()

    def readmit(self, rules: Sequence[str], since: datetime | None, dry_run: bool) -> list[Outcome]:
        """Puts quarantined rows through again (readmission.py). Raises HomeInUse, BrokerAway."""
        with writing(self._settings.home, self.tables):
            self._claim_feeds()
            self.lake.create(self.tables)
            if not self._broker_answers():
                return []
            with self._scan() as scan:
                return Readmission(self._settings.home, self.lake, scan, self._flows.ingests).replay(rules, since, dry_run)

    def _once(self) -> None:
        stopped: list[str] = []
        if self._flows.ingests and self._broker_answers():
            with self._scan() as scan:
                stopped += self._go([scan], {"availableNow": True}, {})
        if self._flows.joins and not self._stopping.is_set():
            with self._joins() as joins:
                stopped += self._go(joins, {}, {"availableNow": True})
            settler = Settler(self.lake, self._settings.home / "state" / "settled.json")
            for join in self._flows.joins:
                settler.settle(join)
        _all_went_on(stopped)

    def _forever(self) -> None:
        if self._flows.ingests and not self._broker_answers():
            return
        engine = self._settings.engine
        parts: list[Scan | JoinQuery] = []
        with ExitStack() as closing:
            joins = closing.enter_context(self._joins())
            lanes = closing.enter_context(self._lanes())
            if self._flows.ingests:
                for lane in lanes.values():
                    lane.tend()
                scan = closing.enter_context(self._scan(lanes))
                if not any((self._settings.checkpoint(self._query) / "commits").glob("[0-9]*")):
                    self._say("warming up")
                    self._warm_up(scan, joins)
                parts.append(scan)
            parts += joins
            with Maintenance(self.lake, self.tables, self._settings.maintenance, self._say):
                triggers = {"processingTime": engine.trigger}, {"processingTime": engine.join_trigger}
                _all_went_on(self._go(parts, *triggers, [*lanes.values()]))

    def rehearse(self) -> None:
        """Runs every flow over the contracts' examples, without a broker, and leaves nothing: what a JVM needs for it is loaded then."""
        with self._scan() as scan, self._joins() as joins:
            self._warm_up(scan, joins)

    def _warm_up(self, scan: Scan, joins: Sequence[JoinQuery]) -> None:
        """The scan, and beside it the joins whose tables it feeds."""
        examples = scan.examples()
        stage = self._settings.home / "spool" / self._query / "rehearsal"
        with ThreadPoolExecutor(1, "rehearsal") as pool:
            ready = [join for join in joins if join.reads <= examples.keys()]
            rehearsals = {join: pool.submit(join.rehearse, examples, stage / join.name) for join in ready}
            scan.warm_up()
        for join, rehearsal in rehearsals.items():
            if error := rehearsal.exception():  # the real query will say the same, and be supervised
                self._say(f"the rehearsal of {join.name} failed: {named(error)}")

    def _go(
        self,
        parts: Sequence[Scan | JoinQuery],
        scan_trigger: dict[str, object],
        join_trigger: dict[str, object],
        lanes: Sequence[Lane] = (),
    ) -> list[str]:
        """Runs the queries until all have ended or a stop was asked for, each started again when it fails, and the lanes beside them.

        Returns the flows given up (supervision.py); the others went on. Raises BrokerAway.
        """
        records = {part.name: Record() for part in parts}
        looks = "processingTime" in scan_trigger  # a run that ends when all is taken has no time to wait for
        running: dict[str, StreamingQuery] = {}
        over: set[str] = set()
        stopped = [*self._behind] if any(isinstance(part, Scan) for part in parts) else []
        try:
            said = False
            while len(over) < len(parts) and not self._stopping.is_set():
                for part in parts:
                    if part.name in over:
                        continue
                    if part.name not in running:
                        if time.monotonic() < records[part.name].due_at or not self._ready(part, looks):
                            continue
                        try:
                            running[part.name] = self._start(part, scan_trigger if isinstance(part, Scan) else join_trigger)
                        except BrokerAway:  # it answered a moment ago: it is waited for again
                            continue
                        except (PySparkException, Py4JJavaError, Unfed) as error:  # what cannot be read, or written, is found out here
                            reason = error.__cause__ if isinstance(error, Unfed) else error
                            if not self._stopping.is_set() and self._given_up(part, reason, records[part.name], stopped):
                                over.add(part.name)
                    elif not running[part.name].isActive:
                        error = running.pop(part.name).exception() or (part.unfed if isinstance(part, JoinQuery) else None)
                        if error is None or self._given_up(part, error, records[part.name], stopped):
                            over.add(part.name)
                    elif looks and isinstance(part, Scan):
                        self._look_when_idle(part)
                for lane in lanes:
                    lane.tend()
                if not said and len(running) == len(parts):
                    self._say(f"running {len(self.tables)} tables in {len(running)} queries")
                    said = True
                self._stopping.wait(POLL_SECONDS)
        finally:
            for part in parts:
                if part.name in running:
                    part.gate.end(running[part.name])
                if part.failure and self._stopping.is_set():
                    causes = ", ".join(named(cause) for cause in part.failure.causes.values())
                    self._say(f"batch {part.failure.batch_id} of {part.name} is left to the next start: {causes}")
        return stopped

    def _look_when_idle(self, scan: Scan) -> None:
        try:
            scan.look_when_idle()
        except Exception as error:  # it will be tried again, and no flow depends on it
            self._say(f"looking while nothing comes failed and will be tried again: {named(error)}")

    def _given_up(self, part: Scan | JoinQuery, error: Exception, record: Record, stopped: list[str]) -> bool:
        """Says what failed and when it is tried again; True when the whole query is given up."""
        failure = part.failure or Failure(_batch_in_hand(self._settings.checkpoint(part.name)), {part.name: error})
        is_full = shutil.disk_usage(self._settings.home).free < FULL_BYTES
        given_up, wait = record.failed(failure, is_full)
        if is_full:
            self._say(f"THE DISK of {self._settings.home} is full: what fails is tried again until there is room")
        for flow, cause in failure.causes.items():
            self._say(f"{flow} failed in batch {failure.batch_id}: {named(cause)}")
        whole = False
        for flow in given_up:
            if isinstance(part, Scan) and flow in {watcher.name for watcher in self._watchers} and part.leave_out(flow):
                self._say(f"STOPPED: {flow} is left out until the next start; the others go on")
            elif isinstance(part, Scan) and part.leave_out(flow):
                self._stopped.add(flow, failure.batch_id, named(failure.causes[flow]))
                self._say(f"STOPPED: {flow} is left out; the others go on. Mend it, then: promolake rebuild {flow}")
            else:
                self._say(f"STOPPED: the query {part.name}; the others go on. Its log is log/spark.log in the home")
                whole = True
            stopped.append(flow)
        if not whole:
            self._say(f"starting {part.name} again in {wait:.0f} s")
        return whole

    def _ready(self, part: Scan | JoinQuery, looks: bool) -> bool:
        """Whether the query can be started. A broker that is away is waited for; `looks`: the silence of its sources is looked at."""
        return isinstance(part, JoinQuery) or self._broker_answers((lambda: self._look_when_idle(part)) if looks else lambda: None)

    def _start(self, part: Scan | JoinQuery, trigger: dict[str, object]) -> StreamingQuery:
        checkpoint = self._settings.checkpoint(part.name)
        part.failure = None
        if _never_planned(checkpoint):
            # What is left of a start that died, or met a full disk: Spark refuses a folder that is not empty, for ever.
            shutil.rmtree(checkpoint, ignore_errors=True)
        if isinstance(part, Scan):
            refuse_lost_records(QueryLog(checkpoint), self._bootstrap)
            return part.start(self._bootstrap, checkpoint, self._settings.engine.max_offsets, trigger)
        query = part.start(checkpoint, trigger)
        if part.begins_anew:
            self._say(f"{part.name} begins anew, with all rows of silver: there was no intake for its checkpoint")
        return query

    @contextmanager
    def _joins(self) -> Iterator[list[JoinQuery]]:
        with ExitStack() as closing:
            spool = self._settings.home / "spool"
            joins = [
                JoinQuery(join, self._join_session, self.lake, spool / name, self._settings.intake(name), self._stopping)
                for join, name in ((join, join.table.short) for join in self._flows.joins)
            ]
            for join in joins:
                closing.callback(join.close)
            yield joins

    @contextmanager
    def _lanes(self) -> Iterator[dict[str, Lane]]:
        """The lanes of the forwards by their names, none where the settings want none; ended on leaving."""
        lanes = {}
        for forward in self._flows.forwards if self._settings.errors.has_lane else ():
            (ingest,) = (flow for flow in self._flows.ingests if flow.table is forward.reads)
            checkpoint = self._settings.home / "spool" / f"{forward.name}_lane"
            levels = self._settings.errors.levels
            lanes[forward.name] = Lane(forward, ingest, self._bootstrap, levels, self._scan_session, checkpoint, self._say)
        try:
            yield lanes
        finally:
            for lane in lanes.values():
                lane.end()

    @contextmanager
    def _scan(self, lanes: Mapping[str, Lane] | None = None) -> Iterator[Scan]:
        with ExitStack() as closing:
            spool, levels = self._settings.home / "spool" / self._query, self._settings.errors.levels
            common = (self._bootstrap, levels, self._scan_session, spool, self.lake, self._stopping)
            forwarders = [(flow, Forwarder(flow, *common, (lanes or {}).get(flow.name))) for flow in self._flows.forwards]
            scan = Scan(
                self._query,
                self._scan_session,
                self.lake,
                self._flows.ingests,
                [metric for metric in self._flows.metrics if metric.table.name not in self._behind],
                forwarders,
                self._settings.engine.commit_threads,
                pseudonym_key(self._settings).get_secret_value().encode(),
                spool,
                self._watchers,
            )
            closing.callback(shutil.rmtree, spool, ignore_errors=True)  # raw records passed through it
            closing.callback(scan.close)
            for _, forwarder in forwarders:
                closing.callback(forwarder.close)
            yield scan

    def _broker_answers(self, meanwhile: Callable[[], None] = lambda: None) -> bool:
        """Waits for the broker and sees to the topics; False when a stop was asked for meanwhile."""
        if not kafka.wait_for_broker(self._bootstrap, self._settings.kafka.patience_seconds, self._say, self._stopping, meanwhile):
            return False
        names = [*(flow.topic.name for flow in self._flows.ingests), *(flow.topic for flow in self._flows.forwards)]
        kafka.ensure_topics(self._bootstrap, names, self._settings.kafka.partitions)
        return True

    def _claim_feeds(self) -> None:
        """Remembers which query feeds which table: fed by two, each with transactions of its own, a table would count twice."""
        file = self._settings.home / "state" / "feeds.json"
        joined = {join.table.name for join in self._flows.joins}
        with turn(self._settings.home / "locks" / "feeds"):
            feeds = json.loads(file.read_text()) if file.exists() else {}
            for table in self._flows.tables:
                if feeds.setdefault(table.name, self._query) != self._query and table.name not in joined:
                    raise SettingsError(
                        f"{table.name} is fed by the query {feeds[table.name]}, not by {self._query}: fed by both it would count twice.",
                        "Run it with the same --query as before, or in another --home.",
                    )
            write_whole(file, json.dumps(feeds, indent=1, sort_keys=True))


def _all_went_on(stopped: Sequence[str]) -> None:
    if stopped:
        raise FlowFailed(
            f"Given up, while the others went on: {', '.join(sorted(set(stopped)))}.",
            "What failed is said above and in log/spark.log in the home; a stopped gold table is mended by promolake rebuild.",
        )


def _never_planned(checkpoint: Path) -> bool:
    """Whether no batch was ever planned or finished in it (that none is forgotten either, preflight has seen)."""
    return not any(file for log in ("offsets", "commits") for file in (checkpoint / log).glob("[0-9]*"))


def _batch_in_hand(checkpoint: Path) -> int:
    """The newest batch the checkpoint has planned, -1 when none."""
    return max((int(file.name) for file in (checkpoint / "offsets").glob("[0-9]*")), default=-1)
