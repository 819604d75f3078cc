"""Figures and ages as the page says them, in the visitor's language."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

_UNITS = (("days", 86_400), ("hours", 3_600), ("minutes", 60), ("seconds", 1))
_SIZES = ("B", "kB", "MB", "GB", "TB")


class Saying:
    """Says things as of the moment `at`, with the page's texts; what is not known is `?`."""

    def __init__(self, at: datetime, texts: Mapping[str, str]) -> None:
        self._at = at
        self._texts = texts

    def __call__(self, key: str, **values: object) -> str:
        return self._texts[key].format(**values)

    def age(self, time: datetime | None) -> str:
        """`12 s ago`; a time yet to come is `in 3 min`."""
        if time is None:
            return self._texts["ops_never"]
        seconds = (self._at - time).total_seconds()
        return self("ops_ago" if seconds > -1 else "ops_in", span=self.span(abs(seconds)))

    def span(self, seconds: float) -> str:
        unit, length = next((one for one in _UNITS if seconds >= 2 * one[1]), _UNITS[-1])
        return self(f"ops_{unit}", n=int(seconds // length))

    def count(self, number: int | None) -> str:
        return "?" if number is None else f"{number:,}"

    def rate(self, number: float | None) -> str:
        if number is None:
            return "?"
        return f"{number:,.0f}" if number >= 10 or number == 0 else f"{number:.1f}"

    def size(self, number: float) -> str:
        """Bytes in powers of 1000."""
        power = 0
        while number >= 999.5 and power < len(_SIZES) - 1:
            number, power = number / 1000, power + 1
        return f"{number:,.0f} {_SIZES[power]}" if power < 2 or number >= 10 else f"{number:,.1f} {_SIZES[power]}"

    def time(self, time: datetime | None) -> str:
        return "" if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
