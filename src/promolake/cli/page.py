"""What the live page is made of."""

from __future__ import annotations

from starlette.applications import Starlette

from promolake import settings as configuration
from promolake.cli import operating
from promolake.serving.page import screen
from promolake.serving.page.access import Access
from promolake.serving.page.application import application


def assembled(settings: configuration.Settings, access: Access) -> Starlette:
    """The application over the lake of a home: every part of the page, one line each."""
    parts = [screen.part(), *operating.parts(settings)]
    return application(parts, access)
