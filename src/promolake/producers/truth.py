"""The ground truth of a simulation: what gold must hold, counted in plain Python while the events are made. No Spark, no float for money.

A sale is a PAID line with quantity > 0 and unit_price > 0. Cancelled and refunded lines are refunds, never negative sales.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from promolake.producers import clock
from promolake.producers.message import Message

ASSETS = (".png", ".jpg", ".jpeg", ".gif", ".ico", ".css", ".js", ".woff", ".ttf", ".svg", ".eot", ".map")

Kind = Literal["clean", "late", "duplicate", "poison"]


class Line(NamedTuple):
    """An order line changing its status at `at` (ms)."""

    at: int
    status: str
    order_id: str
    product_id: str
    currency: str
    quantity: int
    unit_price: Decimal


class Request(NamedTuple):
    ip: str
    method: str
    path: str
    status: int


class Logged(NamedTuple):
    level: str


class Happening(NamedTuple):
    """One message of the day: its number, when it is to be sent (ms), what it is, and the fact it tells (None where gold learns nothing).

    `reason` is why silver quarantines a poisoned message.
    """

    index: int
    at: int
    message: Message
    kind: Kind
    reason: str = ""
    fact: Line | Request | Logged | None = None


class Truth:
    """Accumulates what gold must hold. `sale_count` (order lines sold) and `unit_count` never fall."""

    def __init__(self) -> None:
        self.sale_count = 0
        self.unit_count = 0
        self._topics: dict[str, Counter[str]] = defaultdict(Counter)
        self._reasons: dict[str, Counter[str]] = defaultdict(Counter)
        self._currencies: dict[str, dict[str, Any]] = {}
        self._orders: dict[str, set[str]] = defaultdict(set)
        self._minutes: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
        self._products: dict[str, dict[str, list[Any]]] = defaultdict(dict)
        self._ips: Counter[str] = Counter()
        self._page_views = 0
        self._failed = 0
        self._levels: Counter[str] = Counter()

    def add(self, happening: Happening) -> None:
        topic, kind = happening.message.topic, happening.kind
        self._topics[topic][kind] += 1
        if kind == "poison":
            self._reasons[topic][happening.reason] += 1
        elif kind != "duplicate":
            self._learn(happening.fact)

    def _learn(self, fact: Line | Request | Logged | None) -> None:
        if isinstance(fact, Line):
            self._line(fact)
        elif isinstance(fact, Request):
            self._ips[fact.ip] += 1
            self._failed += fact.status >= 400
            self._page_views += fact.method == "GET" and fact.status == 200 and not fact.path.split("?")[0].endswith(ASSETS)
        elif isinstance(fact, Logged):
            self._levels[fact.level] += 1

    def _line(self, line: Line) -> None:
        figures = self._currencies.setdefault(
            line.currency, {"gmv_amount": Decimal(0), "refund_amount": Decimal(0), "unit_count": 0, "sale_count": 0}
        )
        amount = line.quantity * line.unit_price
        if line.status in ("CANCELLED", "REFUNDED"):
            figures["refund_amount"] -= abs(amount)
        if line.status != "PAID" or line.quantity <= 0 or line.unit_price <= 0:
            return
        self.sale_count += 1
        self.unit_count += line.quantity
        figures["gmv_amount"] += amount
        figures["unit_count"] += line.quantity
        figures["sale_count"] += 1
        self._orders[line.currency].add(line.order_id)
        self._minutes[clock.minute(line.at)][line.currency] += amount
        product = self._products[line.currency].setdefault(line.product_id, [Decimal(0), 0])
        product[0] += amount
        product[1] += line.quantity

    def report(self) -> dict[str, Any]:
        """The truth as JSON values; amounts are exact text."""
        return {
            "topics": {topic: _counts(kinds) for topic, kinds in sorted(self._topics.items())},
            "poison_reasons": {topic: dict(reasons) for topic, reasons in sorted(self._reasons.items())},
            "orders": {
                currency: {name: _plain(figure) for name, figure in figures.items()} | {"order_count": len(self._orders[currency])}
                for currency, figures in sorted(self._currencies.items())
            },
            "gmv_amount_per_minute": {
                minute: {currency: _plain(amount) for currency, amount in amounts.items()}
                for minute, amounts in sorted(self._minutes.items())
            },
            "sales_per_product": {
                currency: {
                    product: {"sales_amount": _plain(amount), "unit_count": units} for product, (amount, units) in sorted(sold.items())
                }
                for currency, sold in sorted(self._products.items())
            },
            "request_count": self._ips.total(),
            "page_view_count": self._page_views,
            "failed_count": self._failed,
            "request_count_per_ip": dict(self._ips.most_common()),
            "error_count": self._levels["ERROR"],
            "events_per_level": dict(sorted(self._levels.items())),
        }


def _counts(kinds: Counter[str]) -> dict[str, int]:
    return {
        "sent": kinds.total(),
        "valid": kinds["clean"] + kinds["late"],
        "late": kinds["late"],
        "duplicate": kinds["duplicate"],
        "poison": kinds["poison"],
    }


def _plain(figure: Decimal | int) -> str | int:
    return format(figure, "f") if isinstance(figure, Decimal) else figure
