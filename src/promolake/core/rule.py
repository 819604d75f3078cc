"""A rule a silver row must keep, written once and enforced in the stream (quarantine) and in the audits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import Column

Row = Callable[[str], "Column"]
"""Looks up a column of the row by name, wherever the row stands: in a frame of its own or inside a struct."""


@dataclass(frozen=True)
class Rule:
    """`holds` is true (or null: nothing to object to) for every good row; `name` is what quarantine gives as the reason."""

    name: str
    description: str
    holds: Callable[[Row], Column]
