"""What a process tree costs: CPU seconds and memory of a process and all it starts, as the kernel counts them (proc(5))."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
SAMPLE_SECONDS = 0.2


@dataclass(frozen=True)
class Sample:
    """The tree at one time: seconds since it was started, CPU seconds so far, bytes resident."""

    at: float
    cpu: float
    memory: int


def tree(root: int) -> list[list[str]]:
    """The fields of /proc/<pid>/stat from the state on, of the process and its descendants that live or wait to be reaped."""
    by_parent: dict[int, list[int]] = {}
    fields: dict[int, list[str]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:  # ended meanwhile
            continue
        pid = int(stat.parent.name)
        fields[pid] = text.rpartition(")")[2].split()
        by_parent.setdefault(int(fields[pid][1]), []).append(pid)
    found, left = [], [root]
    while left:
        pid = left.pop()
        found += [fields[pid]] if pid in fields else []
        left += by_parent.get(pid, [])
    return found


def cpu_seconds(processes: Sequence[Sequence[str]]) -> float:
    """utime, stime, and those of the children each has waited for: together the whole tree, nothing twice."""
    return sum(int(field) for process in processes for field in process[11:15]) / TICKS


class Metered:
    """A child process whose tree is metered until the context is left, when it is asked to end and waited for.

    What it prints goes to `log`.
    """

    def __init__(self, command: Sequence[str], log: Path, cwd: Path, environment: Mapping[str, str]) -> None:
        self.samples: list[Sample] = []
        self._began = time.monotonic()
        self._stop = threading.Event()
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=cwd, env=environment, start_new_session=True
            )
        self.pid = self._process.pid
        self._thread = threading.Thread(target=self._meter, name="meter", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.alive:
            os.kill(self.pid, signal.SIGTERM)
        self.wait(60)
        self._stop.set()
        self._thread.join()
        self._end_group()
        self._process.wait()

    @property
    def alive(self) -> bool:
        """An ended process is left unreaped until the context ends: so long the kernel keeps its figures."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None

    @property
    def exit_code(self) -> int:
        """Of an ended process; negative: the signal that ended it."""
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    def wait(self, seconds: float) -> bool:
        """Whether it ended by itself within `seconds`; killed with its session where not."""
        deadline = time.monotonic() + seconds
        while self.alive:
            if time.monotonic() > deadline:
                self._end_group()
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
                self.take()
                return False
            time.sleep(0.02)
        self.take()
        return True

    def take(self) -> Sample:
        """A sample now. CPU never falls: what an orphan used stays counted as last seen."""
        processes = tree(self.pid)
        last = self.samples[-1].cpu if self.samples else 0.0
        memory = sum(int(process[21]) for process in processes) * PAGE
        sample = Sample(time.monotonic() - self._began, max(last, cpu_seconds(processes)), memory)
        self.samples.append(sample)
        return sample

    @property
    def peak_memory(self) -> int:
        return max(sample.memory for sample in self.samples)

    def _meter(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self.take()

    def _end_group(self) -> None:
        """What the process left running in its session, a JVM for instance."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
