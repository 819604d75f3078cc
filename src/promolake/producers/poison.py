"""Messages made wrong on purpose, each with the reason silver gives for quarantining it (columns/payload.py, typed.py, silver/*.py)."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from promolake.producers.draft import Draft, encoded
from promolake.producers.message import Message

Spoil = Callable[[Draft], bytes]


def _cut(draft: Draft) -> bytes:
    return encoded(draft.payload)[:40]  # inside event_id or event_time: no character is cut in two


def _with(**fields: Any) -> Spoil:
    return lambda draft: encoded({**draft.payload, **fields}) if isinstance(draft.payload, dict) else b""


_ANY = {
    "empty": lambda draft: b"",
    "bad_utf8": lambda draft: encoded(draft.payload) + b"\xff\xfe",
}
_JSON = _ANY | {
    "malformed_json": _cut,
    "trailing_data": lambda draft: encoded(draft.payload) + b" garbage",
    "not_an_object": lambda draft: b"[" + encoded(draft.payload) + b"]",
    "missing:event_id": _with(event_id=None),
    "ts_future": _with(event_time="2099-11-11T00:00:00Z"),
    "ts_ancient": _with(event_time=0),
    "ts_format": _with(event_time="yesterday"),
    "ts_null": _with(event_time=None),
}
SPOILT: dict[str, dict[str, Spoil]] = {
    "shop.searches": _JSON | {"wrong_type:result_count": _with(result_count="many")},
    "shop.views": _JSON | {"missing:product_id": _with(product_id="")},
    "shop.orders": _JSON
    | {
        "paid_quantity_positive": _with(status="PAID", quantity=0),
        "price_not_negative": _with(status="PAID", unit_price="-5.00"),
        "unknown_status": _with(status="SHIPPED"),
        "wrong_type:quantity": _with(quantity="two"),
        "not_finite": _with(unit_price="NaN"),
        "amount_scale": _with(unit_price="1.23456"),
        "currency_code": _with(currency="rmb"),
    },
    "site.access": _ANY | {"malformed_line": lambda draft: b"connection reset by peer"},
    "machine.metrics": _JSON | {"has_a_figure": _with(cpu=None, mem=None, io=None), "out_of_range:cpu": _with(cpu=-5)},
    "app.logs": _ANY | {"ts_null": lambda draft: b"ERROR an event that names no time"},
}
"""By topic: what silver says of it, and how it is made."""


def spoilt(draft: Draft, random: Random) -> tuple[Message, str]:
    """The draft made wrong in one of its topic's ways, and the reason silver must give."""
    ways = SPOILT[draft.topic]
    reason = tuple(ways)[int(random.random() * len(ways))]
    return draft.message(ways[reason](draft)), reason
