"""What to do about a query that failed: try again, give up on one flow, or stop; the other flows go on whatever happens."""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pyspark.errors import PySparkException

ATTEMPTS = 3
"""How often a batch may fail for the same flow before the flow is taken out of it."""

LONGEST_WAIT_S = 60.0
FULL_BYTES = 4 * 1024 * 1024
"""A disk with less room than this is full: no micro-batch fits on it."""


class Verdict(StrEnum):
    """What an error says about trying again."""

    FATAL = "fatal"  # it cannot heal: state, schema, rights, lost offsets
    RETRYABLE = "retryable"  # it heals when something outside does: broker, disk, a conflict between commits
    SUSPECT = "suspect"  # nobody knows: tried again, and poison when the same batch fails ATTEMPTS times


# Spark's error conditions and the classes of Kafka's clients (reliability.md 2.1, 2.8, 2.11).
_FATAL = re.compile(
    r"MISSING_METADATA_FILE|CONCURRENT_STREAM_LOG_UPDATE|STATE_STORE_(?:KEY|VALUE)_SCHEMA|STATEFUL_OPERATOR_NOT_MATCH"
    r"|DELTA_SOURCE_TABLE_IGNORE_CHANGES|DELTA_SCHEMA_CHANGED|DELTA_METADATA_MISMATCH|DELTA_MISSING_FILES"
    r"|KAFKA_DATA_LOSS|Incomplete log file"
    r"|\w*(?:Authentication|Authorization)(?:Failed)?(?:Exception|Error)"
)
_RETRYABLE = re.compile(
    r"No space left on device|\b(?:Timeout|Network|Connect|Disconnect)Exception|KafkaTimeoutError|KafkaConnectionError"
    r"|NoBrokersAvailable|BrokerAway|UnknownTopicOrPartition|LeaderNotAvailable|NotLeader|Concurrent(?:Append|Write|Delete\w*|Transaction)Exception"
    r"|CommitFailedError|TASK_WRITE_FAILED"
)


def verdict(error: BaseException | str) -> Verdict:
    """The verdict on an error, by its class and text; fatal wins."""
    text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    if _FATAL.search(text):
        return Verdict.FATAL
    return Verdict.RETRYABLE if _RETRYABLE.search(text) else Verdict.SUSPECT


def named(error: BaseException) -> str:
    """An error's class, and its Spark condition where it has one. Not its text: that may quote a row."""
    condition = error.getCondition() if isinstance(error, PySparkException) else None
    return f"{type(error).__name__} {condition}" if condition else type(error).__name__


@dataclass(frozen=True)
class Failure:
    """What went wrong in one batch: `causes` by the name of the flow (its table) that failed; the query's own name when it was no flow."""

    batch_id: int
    causes: Mapping[str, BaseException]


@dataclass
class Record:
    """One query's history: how often which flow failed in which batch, and when it may be started again."""

    failures: Counter[tuple[str, int]] = field(default_factory=Counter)
    waits: int = 0
    batch_id: int = -1
    due_at: float = 0.0

    def failed(self, failure: Failure, is_disk_full: bool = False) -> tuple[dict[str, Verdict], float]:
        """Takes a failure down; returns the flows to give up with the reason's verdict, and the seconds to wait before the next try.

        While the disk is full that is the reason, whatever the error says: it comes wrapped in many ways.
        """
        if failure.batch_id != self.batch_id:  # it got on since the last time
            self.waits, self.batch_id = 0, failure.batch_id
        given_up = {}
        for flow, cause in failure.causes.items():
            found = verdict(cause)
            if found is Verdict.SUSPECT and is_disk_full:
                found = Verdict.RETRYABLE
            if found is Verdict.SUSPECT:
                self.failures[flow, failure.batch_id] += 1
            if found is Verdict.FATAL or (found is Verdict.SUSPECT and self.failures[flow, failure.batch_id] >= ATTEMPTS):
                given_up[flow] = found
        wait = backoff(self.waits)
        self.waits += 1
        self.due_at = time.monotonic() + wait
        return given_up, wait


def backoff(waits: int) -> float:
    """Seconds before the next try: 1, 2, 4 ... 60, of which up to a fifth is by chance, so that many do not come back at once."""
    return min(LONGEST_WAIT_S, 2.0**waits) * random.uniform(0.8, 1.0)
