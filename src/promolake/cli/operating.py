"""What the operations page is made of: what stands in the home outside its tables, read without a JVM, and how silences are made."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import promolake
from promolake import settings as configuration
from promolake.alerts.outbox import Outbox, outbox_file
from promolake.alerts.silences import Silences
from promolake.cli.reporting import bootstrap_of
from promolake.cli.silencing import silenced, unsilenced
from promolake.core.errors import BrokerAway
from promolake.engine import kafka
from promolake.engine.jars import BROKER_JARS
from promolake.engine.lateness import ALLOWED
from promolake.engine.lock import holders
from promolake.engine.query_log import Ends, QueryLog
from promolake.engine.stopped import StoppedTables
from promolake.hallway import HALLWAY
from promolake.serving.page import operations
from promolake.serving.page.outside import Delivery, Disk, Outside, Query, Silence, Silencing
from promolake.serving.page.part import Part
from promolake.serving.page.standing import Standings

BATCHES_TIMED = 20
DELIVERIES_SHOWN = 200
DISK_SECONDS = 60.0  # between two walks over the home
ASK_MS = 2_000  # how long the broker may take


def parts(settings: configuration.Settings) -> list[Part]:
    """The operations page, the form for silences, and /metrics, over a home."""
    standings = Standings(settings.lake, tuple(flow.topic.name for flow in HALLWAY.ingests), Probe(settings).outside)
    silencing = Silencing(
        add=lambda matchers, length, comment, by: silenced(settings.home, matchers, length, comment, by).id,
        end=lambda silence_id: unsilenced(settings.home, silence_id),
    )
    return operations.parts(HALLWAY, standings, silencing)


class Probe:
    """Looks at a home from outside. One thread at a time."""

    def __init__(self, settings: configuration.Settings) -> None:
        self._settings = settings
        self._outbox: Outbox | None = None
        self._disk: tuple[float, Disk] | None = None
        self._versions = versions()

    def outside(self) -> Outside:
        home = self._settings.home
        now = datetime.now(UTC)
        stopped = StoppedTables(home)
        bootstrap = bootstrap_of(self._settings) or ""
        return Outside(
            at=now,
            running=tuple(sorted(holders(home).values())),
            broker=bootstrap,
            ends=_ends(bootstrap),
            queries=tuple(query(folder) for folder in sorted((home / "checkpoints").glob("*")) if folder.is_dir()),
            stopped={name: stopped.batch(name) for name in sorted(stopped.names)},
            silences=silences(home, now),
            notifications=self._opened().counts() if outbox_file(home).exists() else {},
            deliveries=self._tries(),
            disk=self._measured(),
            versions=self._versions,
            lateness=ALLOWED,
        )

    def _opened(self) -> Outbox:
        if self._outbox is None:
            self._outbox = Outbox(outbox_file(self._settings.home))
        return self._outbox

    def _tries(self) -> tuple[Delivery, ...]:
        if not outbox_file(self._settings.home).exists():
            return ()
        return tuple(
            Delivery(
                datetime.fromtimestamp(row["at"], UTC),
                row["channel"],
                row["outcome"],
                row["detail"],
                tuple(json.loads(row["alert_ids"])) if row["alert_ids"] else (row["notification_id"],),
            )
            for row in self._opened().history(DELIVERIES_SHOWN)
        )

    def _measured(self) -> Disk:
        """The walk over the home is kept for a while; what is free is asked each time."""
        home = self._settings.home
        there = next(place for place in (home, *home.parents) if place.exists())
        usage = shutil.disk_usage(there)
        if self._disk is None or time.monotonic() - self._disk[0] > DISK_SECONDS:
            used = {entry.name: size_of(entry) for entry in sorted(home.iterdir()) if entry.is_dir()} if home.exists() else {}
            self._disk = (time.monotonic(), Disk(datetime.now(UTC), used, usage.free, usage.total))
        measured = self._disk[1]
        return Disk(measured.measured_at, measured.used, usage.free, usage.total)


def query(folder: Path) -> Query:
    """How a streaming query stands: its checkpoint's `offsets/N` is written when batch N is planned, `commits/N` when it has ended."""
    log = QueryLog(folder)
    planned, done = log.last, log.last_done
    finished = log.offsets.get(done)
    seconds = []
    for number in sorted(log.commits.keys() & log.offsets.keys())[-BATCHES_TIMED:]:
        began, ended = _written(log.offsets_file(number)), _written(log.commits_file(number))
        if began and ended:
            seconds.append(max(0.0, (ended - began).total_seconds()))
    newest = log.offsets.get(planned)
    watermark_ms = int(str(newest.settings.get("batchWatermarkMs", 0))) if newest else 0
    ends = None if done >= 0 and finished is None else _numbered((finished.ends if finished else None) or {})
    return Query(
        log.name,
        planned,
        done,
        _written(log.offsets_file(planned)) if planned >= 0 else None,
        _written(log.commits_file(done)) if done >= 0 else None,
        tuple(seconds),
        ends,
        finished.versions if finished and finished.ends is None else {},
        datetime.fromtimestamp(watermark_ms / 1000, UTC) if watermark_ms else None,
    )


def _numbered(ends: Ends) -> dict[str, dict[int, int]]:
    return {topic: {int(partition): end for partition, end in partitions.items()} for topic, partitions in ends.items()}


def silences(home: Path, now: datetime) -> tuple[Silence, ...]:
    """Those that hold or will hold."""
    return tuple(
        Silence(
            one.id,
            ", ".join(f"{matcher.label}{matcher.operator}{matcher.text}" for matcher in one.matchers),
            one.starts_at,
            one.ends_at,
            one.created_by,
            one.comment,
        )
        for one in Silences(home).all()
        if one.ends_at > now
    )


def versions() -> dict[str, str]:
    """What was installed when this process began."""
    packages = {"Spark": "pyspark", "Delta": "delta-spark", "deltalake": "deltalake"}
    found = {"promolake": promolake.__version__} | {name: metadata.version(package) for name, package in packages.items()}
    broker = re.search(r":kafka_[\d.]+:([\d.]+)", " ".join(BROKER_JARS.coordinates))
    return found | ({"embedded Kafka": broker[1]} if broker else {}) | ({"Java": java} if (java := _java_version()) else {})


def _java_version() -> str:
    """Of the file `release` beside its `bin`: starting Java for it would cost half a second."""
    java = shutil.which("java", path=f"{os.environ.get('JAVA_HOME', '')}/bin:{os.environ.get('PATH', '')}")
    release = Path(java).resolve().parent.parent / "release" if java else Path("/nowhere")
    match = re.search(r'JAVA_VERSION="([^"]+)"', release.read_text()) if release.exists() else None
    return match[1] if match else ""


def _ends(bootstrap: str) -> dict[tuple[str, int], int] | None:
    try:
        return kafka.end_offsets(bootstrap, [flow.topic.name for flow in HALLWAY.ingests], ASK_MS) if bootstrap else None
    except BrokerAway:
        return None


def _written(file: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp(file.stat().st_mtime, UTC)
    except FileNotFoundError:  # Spark has tidied it up meanwhile
        return None


def size_of(folder: os.DirEntry[str] | Path) -> int:
    """Bytes in all files under a folder that others write and tidy up meanwhile."""
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(place, name)).st_size
            except FileNotFoundError:
                continue
    return total
