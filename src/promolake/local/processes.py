"""Child processes that never outlive their purpose, and processes of earlier commands, known by pid and start time."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1  # prctl(2)


@dataclass(frozen=True)
class Process:
    """A process by pid and start time (clock ticks since boot), so that a pid used again is never taken for it."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The living process with this pid, or None."""
        stat = _stat(pid)
        return cls(pid, int(stat[19])) if stat and stat[0] != "Z" else None

    @property
    def alive(self) -> bool:
        return Process.of(self.pid) == self

    @property
    def uptime_s(self) -> float:
        since_boot = float(Path("/proc/uptime").read_text().split()[0])
        return since_boot - self.started / os.sysconf("SC_CLK_TCK")

    def stop(self, timeout_s: float) -> None:
        """Asks the process to end (SIGTERM) and ends it (SIGKILL) when it has not within `timeout_s`; returns when it is gone."""
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + timeout_s
        while self.alive:
            if time.monotonic() > deadline:
                self._signal(signal.SIGKILL)
            time.sleep(0.02)

    def _signal(self, number: signal.Signals) -> None:
        if self.alive:
            os.kill(self.pid, number)


class Child:
    """A running child: what it prints goes to the end of `log`.

    `tied`: the kernel kills it when the thread that started it ends, however that happens. Otherwise it outlives the command.
    Either way it has a session of its own: Ctrl-C in the terminal reaches the parent only, which then stops it in order.
    """

    def __init__(
        self, command: Sequence[str], log: Path, *, tied: bool, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        parent = os.getpid()

        def tie() -> None:
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # the parent ended before the line above
                os._exit(1)

        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=env,
                start_new_session=True,
                preexec_fn=tie if tied else None,
            )
        # A child that ended at once is a zombie, whose start time can still be read.
        self.process = Process(self._popen.pid, int(_stat(self._popen.pid)[19]))

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._popen.poll()

    def stop(self, timeout_s: float = 20.0) -> int:
        """Ends the child and returns its exit code."""
        self.process.stop(timeout_s)
        return self._popen.wait()


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the third, the state, on (proc(5)); empty when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()
