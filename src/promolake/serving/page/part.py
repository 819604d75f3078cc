"""A part of the page: routes that need the same role. The application (application.py) puts parts together and keeps their doors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from starlette.routing import Route


class Role(Enum):
    """Who may call a route; an operator may call a viewer's, too."""

    ANYONE = "anyone"
    VIEWER = "viewer"
    OPERATOR = "operator"


@dataclass(frozen=True)
class Part:
    """Routes with the role they need."""

    role: Role
    routes: Sequence[Route]
