"""The floor: what two hundred hand-written lines need for the same tables, without an engine's promises."""

from __future__ import annotations

from bench.engines.engine import Engine, Mode, Place, Say, job
from bench.engines.environment import python_of


class Floor(Engine):
    name = "hand-written floor"
    keeps = "Delta, by appending partial sums which the reader adds up; it does not recover, compact, validate or deduplicate"

    def prepare(self, say: Say) -> None:
        self._python = python_of("floor", say)

    def command(self, place: Place, mode: Mode) -> list[str]:
        return job("floor_job.py", place, mode, self._python)
