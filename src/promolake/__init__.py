"""promolake: a lakehouse for the promotion days of e-commerce that proves its numbers.

`promolake.connect()` reads the lake of a home; `promolake.sample()` makes a small promotion day to try things on.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """What a notebook asks for; imported only then, so that importing promolake costs nothing."""
    if name not in ("connect", "sample"):
        raise AttributeError(f"promolake has no {name}")
    from promolake import connecting

    return getattr(connecting, name)
