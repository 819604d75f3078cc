"""What the live page is made of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette

from promolake import settings as configuration
from promolake.cli import operating
from promolake.cli.tables import the_dictionary
from promolake.engine.lateness import ALLOWED
from promolake.hallway import HALLWAY
from promolake.serving.page import box, dictionary, live
from promolake.serving.page.access import Access
from promolake.serving.page.application import application
from promolake.serving.page.board import Board


def assembled(settings: configuration.Settings, access: Access) -> Starlette:
    """The application over the lake of a home: every part of the page, one line each."""
    board = Board(settings.lake, _topics(), ALLOWED)
    frames = live.Live(board)
    parts = [live.part(frames, board, access), box.part(settings.lake), *operating.parts(settings), dictionary.part(the_dictionary())]

    @asynccontextmanager
    async def running(_: Starlette) -> AsyncIterator[None]:
        poller = asyncio.create_task(frames.keep_up())
        yield
        poller.cancel()

    return application(parts, access, running)


def _topics() -> dict[str, tuple[str, ...]]:
    """The Kafka topics each gold table is fed from."""
    topic = {ingest.table.name: ingest.topic.name for ingest in HALLWAY.ingests}
    return {metric.table.name: tuple(topic[reads.table.name] for reads in metric.reads) for metric in HALLWAY.metrics}
