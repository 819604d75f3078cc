"""Who shops and what is sold on a simulated promotion day: all test data, on documentation domains, benchmark addresses, test cards."""

from __future__ import annotations

from bisect import bisect
from decimal import Decimal
from itertools import accumulate
from random import Random
from typing import NamedTuple

ZIPF = 1.1  # how much more the first product sells than the next ones
PRODUCTS = 1_000
SHOPPERS = 5_000

# Queries by category: what people type when they look for it.
QUERIES = {
    "shoes": ("running shoes", "跑步鞋", "sandals", "高跟鞋"),
    "phones": ("5g phone", "手机", "phone case", "充电器"),
    "books": ("cook book", "科幻小说", "children's books", "词典"),
    "coats": ("winter coat", "羽绒服", "rain jacket", "风衣"),
    "toys": ("lego", "积木", "puzzle", "毛绒玩具"),
    "food": ("green tea", "坚果", "coffee beans", "零食大礼包"),
    "beauty": ("lipstick", "面膜", "sun screen", "洗面奶"),
    "kitchen": ("rice cooker", "空气炸锅", "knife set", "保温杯"),
    "sports": ("yoga mat", "篮球", "dumbbells", "帐篷"),
    "home": ("bed linen", "四件套", "desk lamp", "收纳盒"),
}
CATEGORIES = tuple(QUERIES)
DEVICES = ("ios", "android", "web", "mini-program")
CHANNELS = {"ios": "app", "android": "app", "web": "web", "mini-program": "mini-program"}
# Test numbers the card schemes publish; no bank issues them.
CARDS = (
    "4111111111111111",
    "4012888888881881",
    "5555555555554444",
    "5105105105105100",
    "378282246310005",
    "6011111111111117",
    "3530111333300000",
)
SURNAMES = "王李张刘陈杨赵黄周吴"
GIVEN_NAMES = ("伟", "芳", "娜", "秀英", "敏", "静", "丽", "强", "磊", "洋", "艳", "建国")
CITIES = ("北京市朝阳区", "上海市浦东新区", "杭州市西湖区", "广州市天河区", "深圳市南山区", "成都市武侯区")


class Product(NamedTuple):
    id: str
    category: str
    price: Decimal
    """Up to 4 decimal places; the text of it is what is sent."""


class Shopper(NamedTuple):
    id: str
    ip: str
    device: str
    receiver: dict[str, str]
    card: str


def products(random: Random) -> list[Product]:
    """All products, the best-selling first."""
    return [Product(f"p{number}", CATEGORIES[int(random.random() * len(CATEGORIES))], _price(random)) for number in range(1, PRODUCTS + 1)]


def _price(random: Random) -> Decimal:
    places = 4 if random.random() < 0.1 else 2
    return Decimal(int(random.lognormvariate(4.0, 1.0) * 10**places) + 1).scaleb(-places)


def shoppers(random: Random) -> list[Shopper]:
    return [_shopper(number, random) for number in range(1, SHOPPERS + 1)]


def _shopper(number: int, random: Random) -> Shopper:
    receiver = {
        "name": _of(random, SURNAMES) + _of(random, GIVEN_NAMES),
        "phone": f"1380013{number % 10_000:04d}",
        "email": f"buyer{number}@example.com",
        "address": f"{_of(random, CITIES)}示例路{int(random.random() * 900) + 1}号",
    }
    # 198.18.0.0/15 is set aside for benchmarks (RFC 2544), 2001:db8::/32 for examples (RFC 3849). Families share an address.
    home = number % 2_000
    ip = f"2001:db8::{home:x}" if home % 20 == 0 else f"198.18.{home // 250}.{home % 250 + 1}"
    return Shopper(f"u{number}", ip, _of(random, DEVICES), receiver, _of(random, CARDS))


def _of(random: Random, several: tuple[str, ...] | str) -> str:
    return several[int(random.random() * len(several))]


class Zipf:
    """Draws indices from 0 up to `size`, the n-th with a weight of 1/n^ZIPF."""

    def __init__(self, size: int) -> None:
        weights = list(accumulate(1 / (n + 1) ** ZIPF for n in range(size)))
        self._cumulative = [weight / weights[-1] for weight in weights[:-1]]

    def draw(self, random: Random) -> int:
        return bisect(self._cumulative, random.random())
