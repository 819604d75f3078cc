"""What buyers do on a simulated promotion day: search, look, order, pay, sometimes cancel or send back."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from decimal import Decimal
from heapq import heappop, heappush
from random import Random
from typing import Any, NamedTuple, TypeVar

from promolake.producers import clock
from promolake.producers.catalogue import CHANNELS, PRODUCTS, QUERIES, Product, Shopper, Zipf
from promolake.producers.draft import Draft
from promolake.producers.truth import Line

T = TypeVar("T")
REMEMBERED = 2_000  # searches and views that may still lead to something
LINES = (1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4)
MEAN_LINES = sum(LINES) / len(LINES)
VISIT_MS = 30 * 60_000


class _Order(NamedTuple):
    id: str
    shopper: Shopper
    lines: tuple[dict[str, Any], ...]
    prices: tuple[Decimal, ...]


class _Change(NamedTuple):
    """An order that takes a status at `at`; compares by time, then by the order's number."""

    at: int
    number: int
    status: str
    order: _Order


class Buying:
    """Makes the buyers' messages; draws only from `random`, so the same draws make the same messages."""

    def __init__(self, random: Random, run: str, shoppers: list[Shopper], products: list[Product]) -> None:
        self._random = random
        self._run = run
        self._shoppers = shoppers
        self._products = products
        self._zipf = Zipf(PRODUCTS)
        self._by_category = {category: [product for product in products if product.category == category] for category in QUERIES}
        self._searched: deque[tuple[Shopper, Product, str]] = deque(maxlen=REMEMBERED)
        self._viewed: deque[tuple[Shopper, Product]] = deque(maxlen=REMEMBERED)
        self._due: list[_Change] = []
        self._orders = 0
        self._unsent: deque[tuple[_Change, int]] = deque()

    @property
    def has_unsent_lines(self) -> bool:
        """An order has begun to change its status: its other lines come next."""
        return bool(self._unsent)

    def search(self, event_id: str, at: int) -> Draft:
        shopper, product = self._one(self._shoppers), self._popular()
        known = self._random.random() > 0.15
        if known:
            self._searched.append((shopper, product, event_id))
        payload = {
            "event_id": event_id,
            "event_time": at,
            "user_id": shopper.id if known else None,
            "session_id": _visit(shopper, at),
            "query": "" if self._random.random() < 0.02 else self._one(QUERIES[product.category]),
            "result_count": int(self._random.random() * 500),
            "ip": shopper.ip,
            "device": shopper.device,
        }
        return Draft("shop.searches", event_id, payload["user_id"], payload)

    def view(self, event_id: str, at: int) -> Draft:
        search_id, user_id = None, None
        if self._searched and self._random.random() < 0.5:
            shopper, wanted, search_id = self._one(self._searched)
            product, user_id = self._one(self._by_category[wanted.category]) if self._random.random() < 0.3 else wanted, shopper.id
        else:
            shopper, product = self._one(self._shoppers), self._popular()
            user_id = shopper.id if self._random.random() > 0.15 else None
        if user_id:
            self._viewed.append((shopper, product))
        payload = {
            "event_id": event_id,
            "event_time": clock.iso_utc(at),
            "user_id": user_id,
            "session_id": _visit(shopper, at),
            "product_id": product.id,
            "category": product.category,
            "referrer": "search" if search_id else "home",
            "search_id": search_id,
            "ip": shopper.ip,
            "device": shopper.device,
        }
        return Draft("shop.views", event_id, user_id, payload)

    def order_line(self, event_id: str, at: int) -> Draft:
        """The next line of the order that is changing; else of the one whose next status is due; else of a new order.

        All lines of a change bear the time of its first one, so that an order is paid in one instant.
        """
        if not self._unsent:
            change = heappop(self._due) if self._due and self._due[0].at <= at else _Change(at, self._orders, "PLACED", self._new_order())
            change = change._replace(at=at)
            self._unsent.extend((change, number) for number in range(len(change.order.lines)))
            self._plan_next(change)
        change, number = self._unsent.popleft()
        return self._line(event_id, change, number)

    def lone_sale(self, event_id: str, at: int) -> Draft:
        """A paid line, the only one of its order."""
        return self._line(event_id, _Change(at, self._orders, "PAID", self._new_order(size=1)), 0)

    def _plan_next(self, change: _Change) -> None:
        chance = self._random.random()
        wait = 1_000 + int(self._random.random() * 14_000)
        if change.status == "PLACED" and chance < 0.88:
            heappush(self._due, _Change(change.at + wait, change.number, "PAID", change.order))
        elif change.status == "PAID" and chance < 0.07:
            heappush(self._due, _Change(change.at + 3 * wait, change.number, "CANCELLED" if chance < 0.04 else "REFUNDED", change.order))

    def _new_order(self, size: int | None = None) -> _Order:
        self._orders += 1
        if self._viewed and self._random.random() < 0.8:
            shopper, first = self._one(self._viewed)
        else:
            shopper, first = self._one(self._shoppers), self._popular()
        bought = [first, *(self._popular() for _ in range((size or self._one(LINES)) - 1))]
        order_id = f"A{self._run}-{self._orders}"
        common = {
            "user_id": None if self._random.random() < 0.12 else shopper.id,
            "currency": "USD" if self._random.random() < 0.08 else "CNY",
            "coupon_id": f"C{int(self._random.random() * 50)}" if self._random.random() < 0.2 else None,
            "channel": CHANNELS[shopper.device],
            "ip": shopper.ip,
            "receiver": shopper.receiver,
            "payment": {"method": "card", "card_number": shopper.card}
            if self._random.random() < 0.5
            else {"method": "wallet", "card_number": None},
        }
        prices = tuple(Decimal(0) if self._random.random() < 0.03 else product.price for product in bought)
        lines = tuple(
            {
                "product_id": product.id,
                "category": product.category,
                "quantity": 1 + int(self._random.random() ** 4 * 5),
                "unit_price": f"{price:f}",
                **common,
            }
            for product, price in zip(bought, prices, strict=True)
        )
        return _Order(order_id, shopper, lines, prices)

    def _line(self, event_id: str, change: _Change, number: int) -> Draft:
        order, line = change.order, change.order.lines[number]
        # Some systems write what comes back as a negative quantity: a refund is a refund either way.
        quantity = -line["quantity"] if change.status == "REFUNDED" and change.number % 2 else line["quantity"]
        identity = {"event_id": event_id, "event_time": clock.iso_china(change.at), "order_id": order.id, "line_number": number + 1}
        fact = Line(change.at, change.status, order.id, line["product_id"], line["currency"], quantity, order.prices[number])
        return Draft("shop.orders", event_id, order.id, identity | line | {"quantity": quantity, "status": change.status}, fact)

    def _popular(self) -> Product:
        return self._products[self._zipf.draw(self._random)]

    def _one(self, several: Sequence[T]) -> T:
        return several[int(self._random.random() * len(several))]


def _visit(shopper: Shopper, at: int) -> str:
    return f"{shopper.id}-{at // VISIT_MS}"
