"""Durations in Prometheus's words: 30s, 5m, 1h30m, 2d (Prometheus, "Configuration", <duration>)."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_WHOLE = re.compile(r"(?:\d+(?:ms|[smhdw]))+")


def duration(text: Any) -> timedelta:
    """The duration a text names. Raises ValueError for any other text."""
    if isinstance(text, timedelta):
        return text
    if not isinstance(text, str) or not (text == "0" or _WHOLE.fullmatch(text)):
        raise ValueError(f"{text!r} is no duration such as 30s, 5m or 1h30m")
    return timedelta(seconds=sum(int(n) * _UNITS[unit] for n, unit in re.findall(r"(\d+)(ms|[smhdw])", text)))


Duration = Annotated[timedelta, BeforeValidator(duration)]
