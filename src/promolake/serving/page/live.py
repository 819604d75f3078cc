"""The same screen for everybody, as it changes: one poller computes each new cut once and all viewers are sent the same bytes."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from sse_starlette import EventSourceResponse
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from promolake.core.errors import PromolakeError, SettingsError
from promolake.serving.page.access import Access
from promolake.serving.page.board import Board
from promolake.serving.page.part import Part, Role
from promolake.serving.page.rendering import LANGUAGES, render
from promolake.serving.page.sentences import said

POLL_SECONDS = 0.1  # a look costs 60 microseconds
PACE_SECONDS = 0.5  # the least time between two computed cuts: the page shares its cores with the stream
BEAT_SECONDS = 10
GZIP_HEADER = bytes.fromhex("1f8b0800000000000003")  # RFC 1952: deflate, no name, no time
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Frame:
    """The screen of a cut as JSON, and as the bytes of an event, plain and packed."""

    id: str
    data: bytes
    event: bytes
    packed: bytes

    @classmethod
    def of(cls, shown: dict[str, Any]) -> Frame:
        data = encoded(shown)
        event = b"id: " + shown["cut"].encode() + b"\ndata: " + data + b"\n\n"
        return cls(shown["cut"], data, event, packed(event))


class Live:
    """The newest frame, kept up while anybody looks. A viewer that is slow misses frames and gets the newest; it delays nobody."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._frame: Frame | None = None
        self._changed = asyncio.Event()  # of the frame now; replaced with it
        self._watched = asyncio.Event()
        self._closing = False
        self._is_behind = True
        self._turn = asyncio.Lock()
        self.viewers = 0

    async def keep_up(self) -> None:
        """Polls for ever; every cut costs once, however many look."""
        while True:
            await self._watched.wait()
            began = time.monotonic()
            changed = await self._refresh()
            await asyncio.sleep(PACE_SECONDS - (time.monotonic() - began) if changed else POLL_SECONDS)

    async def events(self, seen: str, is_packed: bool = False) -> AsyncIterator[bytes]:
        """The events of one viewer, who has `seen` a frame already or none; `is_packed` for one that takes gzip."""
        self.viewers += 1
        self._watched.set()
        try:
            yield GZIP_HEADER + packed(_beat()) if is_packed else _beat()
            while not self._closing:
                frame, changed = self._frame, self._changed
                if frame is not None and frame.id != seen:
                    seen = frame.id
                    yield frame.packed if is_packed else frame.event
                else:
                    await changed.wait()
        finally:
            self.viewers -= 1
            if not self.viewers:
                self._watched.clear()

    def set(self) -> None:
        """Ends the events of all viewers: what sse-starlette asks of its `shutdown_event` when the server is told to end."""
        self._closing = True
        self._changed.set()

    async def now(self) -> bytes:
        """The newest screen as JSON."""
        if not self._watched.is_set():
            await self._refresh()
        while self._frame is None:
            await asyncio.sleep(POLL_SECONDS)
            await self._refresh()
        return self._frame.data

    async def _refresh(self) -> bool:
        """Whether there is a new frame."""
        async with self._turn:
            if not self._is_behind and not self._board.has_news():
                return False
            self._is_behind = True  # until it has worked
            try:
                shown = await asyncio.to_thread(self._board.newest)
            except PromolakeError as error:
                shown = {"cut": f"trouble {time.time():.0f}", "trouble": {one: said(error, one) for one in LANGUAGES}}
            except Exception as error:  # a file put together with others meanwhile, say: the next look finds the new one
                _log.warning("the tables could not be read; trying again: %s", error)
                return False
            self._is_behind = False
            if self._frame is not None and shown["cut"] == self._frame.id:  # a batch half committed: what completes it comes at once
                return False
            self._frame = Frame.of(shown)
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()
            return True


def part(live: Live, board: Board, access: Access) -> Part:
    """`/` the screen, `/api/screen` its figures, `/api/live` the same as they change; the first two at another time with `?at=`."""

    async def page(request: Request) -> Response:
        at = request.query_params.get("at", "")
        return render(request, "screen.html", at=_moment(at).strftime("%Y-%m-%dT%H:%M:%SZ") if at else "")

    async def figures(request: Request) -> Response:
        at = request.query_params.get("at")
        data = encoded(await asyncio.to_thread(board.at, _moment(at))) if at else await live.now()
        return Response(data, media_type="application/json")

    async def stream(request: Request) -> Response:
        is_packed = "gzip" in request.headers.get("accept-encoding", "")

        async def allowed() -> AsyncIterator[bytes]:
            async for event in live.events(request.headers.get("last-event-id", ""), is_packed):
                if await access.role(request) is Role.ANYONE:  # a token may have been taken back meanwhile
                    return
                yield event

        return EventSourceResponse(
            allowed(),
            headers={"Content-Encoding": "gzip"} if is_packed else None,
            ping=BEAT_SECONDS,
            ping_message_factory=lambda: packed(_beat()) if is_packed else _beat(),
            shutdown_event=live,
            shutdown_grace_period=1,
        )

    return Part(Role.VIEWER, [Route("/", page), Route("/api/screen", figures), Route("/api/live", stream)])


def encoded(value: Any) -> bytes:
    """JSON; money as text, so that no digit is lost, and times in UTC."""
    return json.dumps(value, default=_plain, separators=(",", ":"), ensure_ascii=False).encode()


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"
    raise TypeError(type(value).__name__)


def packed(event: bytes) -> bytes:
    """The event as a part of a gzip stream that refers to nothing before it (RFC 1951; zlib's full flush): packed once, it fits into the
    stream of every viewer. What is sent is what a hundred viewers cost, and what a phone pays for."""
    deflate = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflate.compress(event) + deflate.flush(zlib.Z_FULL_FLUSH)


def _beat() -> bytes:
    """Says that the connection lives, and what time it is here."""
    return f"event: beat\ndata: {_plain(datetime.now(UTC))}\n\n".encode()


def _moment(text: str) -> datetime:
    """A time as in a URL; without a zone it is UTC. Raises SettingsError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"{text!r} is no time.", "Write it as 2026-11-11T00:00:37Z.") from None
    return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
