from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from promolake.local.processes import Child, Process

SLEEP = "import time; print('ready', flush=True); time.sleep(600)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_what_a_child_prints_goes_to_the_end_of_its_log(tmp_path: Path, until) -> None:
    log = tmp_path / "child.log"
    log.write_text("before\n")
    child = Child(python("import os; os.write(1, b'out\\n'); os.write(2, b'err\\n'); raise SystemExit(3)"), log, tied=True)
    until(lambda: child.exit_code is not None)
    assert child.exit_code == 3
    assert log.read_text() == "before\nout\nerr\n"


@pytest.mark.parametrize(("code", "ended_by"), [(SLEEP, signal.SIGTERM), (DEAF, signal.SIGKILL)])
def test_stop_asks_first_and_then_ends_the_child(tmp_path: Path, until, code: str, ended_by: signal.Signals) -> None:
    log = tmp_path / "child.log"
    child = Child(python(code), log, tied=True)
    until(lambda: log.read_text() == "ready\n")
    assert child.stop(timeout_s=0.3) == -ended_by
    assert not child.process.alive


def test_a_child_has_a_session_of_its_own_so_that_ctrl_c_reaches_the_parent_only(tmp_path: Path) -> None:
    child = Child(python(SLEEP), tmp_path / "child.log", tied=True)
    try:
        assert os.getsid(child.process.pid) == child.process.pid
    finally:
        child.stop()


@pytest.mark.parametrize("tied", [True, False])
def test_a_tied_child_ends_with_its_parent_and_another_outlives_it(tmp_path: Path, until, tied: bool) -> None:
    parent_code = f"""
        import sys, time
        from pathlib import Path
        from promolake.local.processes import Child
        print(Child([sys.executable, "-c", {SLEEP!r}], Path({str(tmp_path / "child.log")!r}), tied={tied}).process.pid, flush=True)
        time.sleep(600)
    """
    with subprocess.Popen(python(textwrap.dedent(parent_code)), stdout=subprocess.PIPE, text=True) as parent:
        child = Process.of(int(parent.stdout.readline()))
        parent.kill()
    if tied:
        until(lambda: not child.alive)
    else:
        assert child.alive
        child.stop(timeout_s=5)
        assert not child.alive


def test_a_pid_used_again_is_another_process() -> None:
    me = Process.of(os.getpid())
    assert me.alive
    assert me.uptime_s > 0
    assert not Process(me.pid, me.started - 1).alive
