"""The page as one ASGI application: parts put together, each behind its door, every answer with strict headers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from promolake.core.errors import PromolakeError
from promolake.serving.page import assets, entrance
from promolake.serving.page.access import Access, Guard
from promolake.serving.page.part import Part
from promolake.serving.page.rendering import language, render
from promolake.serving.page.sentences import said

# In the order of the menu: the pages there may be, with the word each is called by.
MENU = (("/", "menu_screen"), ("/operations", "menu_operations"), ("/sql", "menu_sql"), ("/dictionary", "menu_dictionary"))

# The style of the map library inside plotly.min.js. Nothing here shows a map; but refused, it is an error in every console.
_PLOTLY_STYLE = "'sha256-ji27qzEtxXZW+7dun6UwjHXJ18e6WAin1VvNtkzIE/o='"
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        f"style-src 'self' {_PLOTLY_STYLE}",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with no-referrer a browser sends its own forms with `Origin: null`, and they are refused
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


def application(parts: Sequence[Part], access: Access, lifespan: Lifespan | None = None) -> Starlette:
    """The parts, static files and the entrance; `lifespan` runs as long as the application does.

    HTTPException and PromolakeError of a route become a page for a browser that asks for one, else `{"error": sentence}`,
    both in the visitor's language.
    """
    everything = [assets.part(), entrance.part(access), *parts]
    routes = [_guarded(route, part, access) for part in everything for route in part.routes]
    there = {route.path for route in routes}
    app = Starlette(
        routes=routes,
        middleware=[Middleware(StrictHeaders)],
        exception_handlers={HTTPException: _refused, PromolakeError: _failed},
        lifespan=lifespan,
    )
    app.state.access = access
    app.state.nav = [(path, word) for path, word in MENU if path in there]
    return app


def _guarded(route: Route, part: Part, access: Access) -> Route:
    return Route(route.path, Guard(route.app, part.role, access), methods=route.methods and sorted(route.methods), name=route.name)


class StrictHeaders:
    """Adds HEADERS to every answer, and forbids keeping it unless the answer itself says how long."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def strictly(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, strictly)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if not _wants_a_page(request):
        headers = {"WWW-Authenticate": "Bearer"} if error.status_code == 401 else {}
        return JSONResponse({"error": said(error, language(request))}, error.status_code, headers)
    if error.status_code == 401:
        return entrance.door(request, 401)
    return render(request, "refused.html", error.status_code, status_code=error.status_code, sentence=said(error, language(request)))


async def _failed(request: Request, error: Exception) -> Response:
    sentence = said(error, language(request))
    if not _wants_a_page(request):
        return JSONResponse({"error": sentence}, 400)
    return render(request, "refused.html", 400, status_code=400, sentence=sentence)


def _wants_a_page(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")
