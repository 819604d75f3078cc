"""The screen itself: one page."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from promolake.serving.page.part import Part, Role
from promolake.serving.page.rendering import render


def part() -> Part:
    async def page(request: Request) -> Response:
        return render(request, "screen.html")

    return Part(Role.VIEWER, [Route("/", page)])
