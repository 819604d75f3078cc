"""Every error promolake raises on purpose, and the exit code it ends a command with.

PromolakeError            1   what went wrong, where, and the remedy
|-- SettingsError         2   a configuration file, a variable or a mapping is wrong
|-- EnvironmentProblem    3   Java, a port, a directory or a jar is not as needed
|   `-- HomeInUse         4   another process writes this home
|-- BrokerAway            5   no Kafka broker answers
|-- FlowFailed            6   a streaming query ended with an error
|-- NumbersDiffer         7   two ways to compute a figure disagree
`-- DamageFound           8   files of a checkpoint or a table are damaged
"""

from __future__ import annotations


class PromolakeError(Exception):
    """An expected failure; `what` happened (and where), `remedy` says what to do about it."""

    exit_code = 1

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what} {self.remedy}".strip()


class SettingsError(PromolakeError):
    exit_code = 2


class EnvironmentProblem(PromolakeError):
    exit_code = 3


class HomeInUse(EnvironmentProblem):
    exit_code = 4


class BrokerAway(PromolakeError):
    exit_code = 5


class FlowFailed(PromolakeError):
    exit_code = 6


class NumbersDiffer(PromolakeError):
    exit_code = 7


class DamageFound(PromolakeError):
    exit_code = 8
