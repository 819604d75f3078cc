"""Silences: kept in one small file in the home, written whole, read by the dispatcher when it changes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

from promolake.alerts.routing import Silence
from promolake.alerts.rules import Matcher
from promolake.whole_file import write_whole


class Silences:
    """The silences of a home."""

    def __init__(self, home: Path) -> None:
        self._file = home / "state" / "silences.json"
        self._read_at = -1
        self._silences: tuple[Silence, ...] = ()

    def all(self) -> tuple[Silence, ...]:
        """Every silence, also past ones."""
        changed_at = self._file.stat().st_mtime_ns if self._file.exists() else 0
        if changed_at != self._read_at:
            found = json.loads(self._file.read_text()) if changed_at else []
            self._silences = tuple(Silence.model_validate(one) for one in found)
            self._read_at = changed_at
        return self._silences

    def add(self, matchers: Sequence[str], starts_at: datetime, length: timedelta, created_by: str, comment: str) -> Silence:
        """Raises pydantic.ValidationError for a matcher that is none."""
        parsed = tuple(Matcher.model_validate(one) for one in matchers)
        made = Silence(
            id=uuid4().hex[:12], matchers=parsed, starts_at=starts_at, ends_at=starts_at + length, created_by=created_by, comment=comment
        )
        self._write([*self.all(), made])
        return made

    def expire(self, silence_id: str, now: datetime) -> bool:
        """Ends a silence now; False when none has that id."""
        known = self.all()
        self._write([one.model_copy(update={"ends_at": min(one.ends_at, now)}) if one.id == silence_id else one for one in known])
        return any(one.id == silence_id for one in known)

    def _write(self, silences: Sequence[Silence]) -> None:
        write_whole(self._file, json.dumps([json.loads(one.model_dump_json()) for one in silences], indent=1))
