"""Calls an application in this process, without a server."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from starlette.applications import Starlette


class Client:
    """Every call is one of its own; redirects are not followed."""

    def __init__(self, app: Starlette, base_url: str = "http://localhost") -> None:
        self._app = app
        self._base_url = base_url

    def get(self, address: str, **options: Any) -> httpx.Response:
        return self.request("GET", address, **options)

    def post(self, address: str, **options: Any) -> httpx.Response:
        return self.request("POST", address, **options)

    def request(self, method: str, address: str, **options: Any) -> httpx.Response:
        async def called() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self._app), base_url=self._base_url) as client:
                return await client.request(method, address, **options)

        return asyncio.run(called())
