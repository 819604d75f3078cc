"""The dictionary on the page: what every topic, table and view means, and what it is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from promolake.serving.dictionary import Entry
from promolake.serving.page.part import Part, Role
from promolake.serving.page.rendering import render


def part(entries: Sequence[Entry]) -> Part:
    """`/dictionary` for people, `/dictionary.json` for machines."""
    layers = {layer: list(of) for layer, of in groupby(entries, key=lambda entry: entry.layer)}
    plain = [asdict(entry) for entry in entries]

    async def page(request: Request) -> Response:
        return render(request, "dictionary.html", layers=layers)

    async def data(_: Request) -> Response:
        return JSONResponse(plain)

    return Part(Role.VIEWER, [Route("/dictionary", page), Route("/dictionary.json", data)])
