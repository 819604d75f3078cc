"""The fault suite: its seed, its brokers, and what it says at the end. The long part has the marker `chaos` (`make chaos`)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from statistics import median, quantiles

import pytest

from chaos.ground import Tally
from promolake.local.broker import Broker

SEED = "CHAOS_SEED"
_TALLY = pytest.StashKey[Tally]()


@pytest.fixture(scope="session")
def tally(pytestconfig: pytest.Config) -> Tally:
    """What the suite saw, told at its end; its seed decides everything that is left to chance."""
    return pytestconfig.stash.setdefault(_TALLY, Tally(int(os.environ.get(SEED, "11"))))


@pytest.fixture(scope="module", autouse=True)
def pseudonym_key() -> Iterator[None]:
    """One key for all homes, so that their tables can be compared."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROMOLAKE_PSEUDONYM_KEY", "a pseudonym key for the fault suite only")
        yield


@pytest.fixture(scope="module")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker whose topics hold nothing but what the module sends."""
    own = Broker(tmp_path_factory.mktemp("broker"))
    own.start(print, tied=True)
    yield own
    own.stop()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    tally = config.stash.get(_TALLY, None)
    if tally is None:
        return
    times = sorted(tally.recoveries)
    recovery = f"p50 {median(times):.1f} s, p95 {quantiles(times, n=20)[-1]:.1f} s of {len(times)}" if len(times) > 1 else "not measured"
    terminalreporter.section(f"faults, {SEED}={tally.seed}")
    terminalreporter.line(f"kills {tally.kills}, batches proven to be replayed {tally.replays}, from a kill to the next batch: {recovery}")
    terminalreporter.line(f"records checked {tally.checked}, lost {tally.lost}, repeated {tally.repeated}")
