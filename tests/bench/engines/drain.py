"""The ceiling: a Kafka client that reads every record and does nothing with it."""

from __future__ import annotations

import json
from typing import Any

from bench.engines.engine import COMMON_TOPICS, Engine, Mode, Place, Say, job
from bench.engines.environment import python_of
from bench.truth import Expected, same_sum


class Drain(Engine):
    name = "raw drain"
    keeps = "nothing: it counts the records"
    lives = False

    def prepare(self, say: Say) -> None:
        self._python = python_of("floor", say)

    def command(self, place: Place, mode: Mode) -> list[str]:
        return job("drain_job.py", place, mode, self._python)

    def differences(self, place: Place, expected: Expected, truth: dict[str, Any]) -> list[str]:
        counted = json.loads((place.home / "lake" / "drained.json").read_text())
        return [line for topic in COMMON_TOPICS for line in same_sum(topic, expected.records[topic], counted[topic])]
