"""Where processes come to an end: a home, and the victims started over it one after another."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pyarrow.compute as pc
import pytest
from pyspark.sql import SparkSession

from chaos.victim import Journal, Victim, unprotect
from day import run_once
from promolake import settings as configuration
from promolake.core.flow import Hallway
from promolake.engine.lakehouse import Lakehouse
from promolake.engine.ledger import LEDGER
from promolake.local.processes import Child

REPOSITORY = Path(__file__).parents[2]
VICTIM = Path(__file__).with_name("victim.py")
PATIENCE_S = 600.0  # for a process on a machine that has other work
KILLED = -signal.SIGKILL
# A process that lives for a few batches is over before the second compiler has paid off: half the processor time of a start is saved.
SHORT_LIVED = {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:+UseSerialGC"}


class Entry(NamedTuple):
    """A line of the victims' journal (victim.py)."""

    at: float
    pid: int
    what: str
    of: str
    batch: int


@dataclass
class Tally:
    """What a whole run of the suite saw."""

    seed: int
    kills: int = 0
    replays: int = 0  # batches that were begun by a process that died in them, and again by the next
    recoveries: list[float] = field(default_factory=list)  # seconds from a kill to the next finished batch
    lost: int = 0
    repeated: int = 0
    checked: int = 0  # records looked at


class Ground:
    """A home fed from the broker at `bootstrap`, at most `records_per_batch` records per micro-batch."""

    def __init__(self, home: Path, bootstrap: str, records_per_batch: int, tally: Tally) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.bootstrap = bootstrap
        self.tally = tally
        self.journal_file = home.parent / f"{home.name}.journal"
        self.log = home.parent / f"{home.name}.log"
        self._records_per_batch = records_per_batch
        self._looked = (-1, -1)

    @property
    def settings(self) -> configuration.Settings:
        engine = configuration.Engine(max_offsets=self._records_per_batch)
        return configuration.load(self.home).model_copy(update={"engine": engine})

    @cached_property
    def lake(self) -> Lakehouse:
        return Lakehouse(self.settings.lake)

    def start(self, *command: str, die: str | None = None, unprotected: bool = False, **variables: str) -> Child:
        """Starts a victim with a command line of promolake over the home; `variables` are for its environment."""
        line = [sys.executable, str(VICTIM), str(self.journal_file)]
        line += ["--die", die] if die else []
        line += ["--unprotected"] if unprotected else []
        line += ["--", "--home", str(self.home), *command]
        environment = dict(os.environ) | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        environment |= {"PROMOLAKE_KAFKA__BOOTSTRAP": self.bootstrap, "PROMOLAKE_ENGINE__MAX_OFFSETS": str(self._records_per_batch)}
        return Child(line, self.log, tied=True, cwd=REPOSITORY, env=environment | variables)

    def once(self, *options: str, die: str | None = None, unprotected: bool = False) -> int:
        """Runs `run --once` to its end, natural or not; returns the exit code."""
        child = self.start("run", "--once", *options, die=die, unprotected=unprotected, **SHORT_LIVED)
        try:
            code = waited(child)
        finally:
            kill(child)
        if code == KILLED:
            self.tally.kills += 1
        return code

    def dies(self, point: str, *options: str, unprotected: bool = False) -> None:
        """Runs until the process is killed at the point, and makes sure that it was."""
        assert self.once(*options, die=point, unprotected=unprotected) == KILLED, self.told()
        assert (self.journal()[-1].what, self.journal()[-1].of) == ("died", point)

    def finishes(self, *options: str, unprotected: bool = False) -> None:
        """Runs to the natural end, and counts what was replayed up to it."""
        assert self.once(*options, unprotected=unprotected) == 0, self.told()
        self.tally.replays += len(self.replayed())

    def finishes_in(self, spark: SparkSession, flows: Hallway, unprotected: bool = False) -> None:
        """As `finishes`, in a session that is up: what a process left is taken up by the same code, without a JVM started for it."""
        with pytest.MonkeyPatch.context() as patch:
            if unprotected:
                unprotect(patch.setattr)
            Victim(Journal(str(self.journal_file)), None).watch(patch.setattr)
            run_once(self.settings, self.bootstrap, spark, flows)
        self.tally.replays += len(self.replayed())

    def killed(self, child: Child) -> None:
        """kill -9 from outside, whatever the process is at."""
        kill(child)
        entry = Entry(time.time(), child.process.pid, "died", "kill -9", -1)
        with self.journal_file.open("a") as journal:
            journal.write(json.dumps(entry._asdict()) + "\n")
        assert not child.process.alive
        self.tally.kills += 1

    def stopped(self, child: Child) -> None:
        """SIGTERM and the orderly end."""
        os.kill(child.process.pid, signal.SIGTERM)
        assert waited(child) == 0, self.told()

    def ended(self, child: Child) -> int:
        """How many batches of the scan the child has finished. The child must be alive."""
        assert child.exit_code is None, self.told()
        line = f'"pid": {child.process.pid}, "what": "ended", "of": "main"'  # asked often: not worth parsing
        return self.journal_file.read_text().count(line) if self.journal_file.exists() else 0

    def has_taken(self, child: Child, count: int) -> bool:
        """Whether so many records are in the ledger; looks only when the child has finished another batch."""
        now = (self.ended(child), count)
        if now == self._looked:
            return False
        self._looked = now
        return self.read_count() == count

    def read_count(self) -> int:
        """How many records are in the ledger."""
        return pc.sum(self.lake.read(LEDGER, ["read_count"])["read_count"]).as_py() or 0

    def assert_verified(self) -> None:
        """`promolake verify` recomputes everything from bronze, and gold in plain SQL besides, and finds no difference."""
        line = [sys.executable, "-m", "promolake.cli", "--home", str(self.home), "verify", "--json"]
        done = subprocess.run(line, cwd=REPOSITORY, env=dict(os.environ) | SHORT_LIVED, capture_output=True, text=True, timeout=3_600)
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["agrees"] is True

    def journal(self) -> list[Entry]:
        if not self.journal_file.exists():
            return []
        return [Entry(**json.loads(line)) for line in self.journal_file.read_text().splitlines()]

    def lives(self) -> list[list[Entry]]:
        """The journal by process, in the order of their starts."""
        found: dict[int, list[Entry]] = {}
        for entry in self.journal():
            found.setdefault(entry.pid, []).append(entry)
        return list(found.values())

    def replayed(self) -> list[tuple[str, int]]:
        """The batches that one process left unfinished and a later one began again: the next may die before it comes to a batch."""
        lives = self.lives()
        return [
            batch
            for n, life in enumerate(lives)
            for batch in sorted(_batches(life, "begun") - _batches(life, "ended"))
            if any(batch in _batches(later, "begun") for later in lives[n + 1 :])
        ]

    def recoveries(self) -> list[float]:
        """From each death to the end of the next life's first batch, in seconds; the kill is dated by the last line before it."""
        firsts = [(earlier[-1].at, next((entry.at for entry in later if entry.what == "ended"), None)) for earlier, later in self._deaths()]
        return [first - death for death, first in firsts if first is not None]

    def _deaths(self) -> Iterator[tuple[list[Entry], list[Entry]]]:
        for earlier, later in pairwise(self.lives()):
            if earlier[-1].what == "died":
                yield earlier, later

    def told(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def waited(child: Child, timeout_s: float = PATIENCE_S) -> int:
    """The exit code of the child, once it has ended."""
    deadline = time.monotonic() + timeout_s
    while child.exit_code is None:
        assert time.monotonic() < deadline, "the process did not come to an end"
        time.sleep(0.05)
    return child.exit_code


def kill(child: Child) -> None:
    """kill -9 of the process and all it started that is left, its JVM first of all."""
    with suppress(ProcessLookupError):
        os.killpg(child.process.pid, signal.SIGKILL)
    child.stop(0)


def _batches(life: list[Entry], what: str) -> set[tuple[str, int]]:
    return {(entry.of, entry.batch) for entry in life if entry.what == what}
