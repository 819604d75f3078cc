"""What comes to the driver, seen at the doors it comes through."""

from __future__ import annotations

from collections.abc import Iterable

import pytest


def rows_through(patch: pytest.MonkeyPatch, doors: Iterable[tuple[type, str]]) -> list[int]:
    """How many rows came, each time some did: filled while the test goes on. A door is a method by its class and name."""
    came: list[int] = []

    def watched(owner: type, name: str) -> None:
        plain = getattr(owner, name)

        def call(*args, **kwargs):
            rows = plain(*args, **kwargs)
            came.append(len(rows))
            return rows

        patch.setattr(owner, name, call)

    for owner, name in doors:
        watched(owner, name)
    return came
