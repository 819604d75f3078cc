"""Silences as people ask for them, on the command line and on the page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from promolake.alerts.duration import duration
from promolake.alerts.routing import Silence
from promolake.alerts.silences import Silences
from promolake.core.errors import SettingsError


def silenced(home: Path, matchers: Sequence[str], length: str, comment: str, by: str) -> Silence:
    """Makes a silence from now on. Raises SettingsError for a matcher or length that is none, and for no matcher: that would match all."""
    if not matchers:
        raise SettingsError("A silence needs at least one matcher.", 'For every alert: alertname=~".+"')
    try:
        return Silences(home).add(matchers, datetime.now(UTC), duration(length), by, comment)
    except (ValidationError, ValueError, OverflowError) as error:
        text = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise SettingsError(f"{text}.", "See promolake alerts silence --help.") from None


def unsilenced(home: Path, silence_id: str) -> None:
    """Ends a silence now. Raises SettingsError when none has that id."""
    if not Silences(home).expire(silence_id, datetime.now(UTC)):
        raise SettingsError(f"There is no silence {silence_id}.", "See promolake alerts silences.")
