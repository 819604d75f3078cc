"""The entrance: a token for a session cookie, and back."""

from __future__ import annotations

from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from promolake.serving.page.access import COOKIE, SESSION_SECONDS, Access
from promolake.serving.page.part import Part, Role
from promolake.serving.page.rendering import render

_LONGEST_FORM = 10_000  # bytes


def part(access: Access) -> Part:
    async def log_in(request: Request) -> Response:
        form = await fields(request)
        session = await access.log_in(request, form.get("token", "").strip())
        if session is None:
            return door(request, 401, wrong=True)
        answer = RedirectResponse("/", 303)
        secure = request.url.scheme == "https"
        answer.set_cookie(COOKIE, session, max_age=SESSION_SECONDS, httponly=True, samesite="strict", secure=secure)
        return answer

    async def log_out(request: Request) -> Response:
        access.log_out(request)
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    async def page(request: Request) -> Response:
        return RedirectResponse("/", 303) if access.is_open else door(request)

    routes = [Route("/login", page), Route("/login", log_in, methods=["POST"]), Route("/logout", log_out, methods=["POST"])]
    return Part(Role.ANYONE, routes)


def door(request: Request, status: int = 200, wrong: bool = False) -> Response:
    return render(request, "login.html", status, wrong=wrong)


async def fields(request: Request) -> dict[str, str]:
    """The fields of a posted form; of one that is too long, none."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST_FORM:
            return {}
    return {name: values[0] for name, values in parse_qs(body.decode(errors="replace"), keep_blank_values=True).items()}
