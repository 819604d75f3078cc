"""Instants as producers write them. An instant is a whole number of milliseconds since 1970, UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

CHINA = timezone(timedelta(hours=8))


def iso_utc(ms: int) -> str:
    """2026-11-11T00:00:00.120Z"""
    return f"{_second(ms // 1000, '%Y-%m-%dT%H:%M:%S', UTC)}.{ms % 1000:03d}Z"


def iso_china(ms: int) -> str:
    """2026-11-11T08:00:00.120+08:00"""
    return f"{_second(ms // 1000, '%Y-%m-%dT%H:%M:%S', CHINA)}.{ms % 1000:03d}+08:00"


def log_line(ms: int, before_millis: str) -> str:
    """2026-11-11 00:00:00,120 or with a point, UTC."""
    return f"{_second(ms // 1000, '%Y-%m-%d %H:%M:%S', UTC)}{before_millis}{ms % 1000:03d}"


def access_line(ms: int, china: bool) -> str:
    """11/Nov/2026:00:00:00 +0000; access logs know whole seconds only."""
    return _second(ms // 1000, "%d/%b/%Y:%H:%M:%S %z", CHINA if china else UTC)


def minute(ms: int) -> str:
    """2026-11-11T00:00:00Z, the start of the minute."""
    return _second(ms // 60_000 * 60, "%Y-%m-%dT%H:%M:%SZ", UTC)


@lru_cache(maxsize=256)  # thousands of events share a second
def _second(seconds: int, form: str, zone: timezone) -> str:
    return datetime.fromtimestamp(seconds, zone).strftime(form)
