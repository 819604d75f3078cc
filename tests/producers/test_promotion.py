"""The simulated promotion day: the same from the same seed, near its shares, and told truly by its ground truth."""

import json
import re
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice

import pytest

from promolake.core.errors import SettingsError
from promolake.producers.message import Message
from promolake.producers.poison import SPOILT
from promolake.producers.promotion import PromotionDay
from promolake.producers.truth import Happening, Truth
from promolake.sources import TOPICS

START = datetime(2026, 11, 11, tzinfo=UTC)
SIZE = 40_000
RATE = 1000.0


@pytest.fixture(scope="module")
def day() -> list[Happening]:
    return list(islice(PromotionDay(7, RATE, START), SIZE))


@pytest.fixture(scope="module")
def truth(day: list[Happening]) -> dict:
    truth = Truth()
    for happening in day:
        truth.add(happening)
    return json.loads(json.dumps(truth.report()))


def unique_good(day: list[Happening], topic: str) -> list[Message]:
    """What a lake keeps of a topic: no poison, and of equal bytes one."""
    return list(dict.fromkeys(happening.message for happening in day if happening.message.topic == topic and happening.kind != "poison"))


def share(day: list[Happening], kind: str) -> float:
    return sum(happening.kind == kind for happening in day) / len(day)


def test_the_same_seed_gives_the_same_bytes_at_the_same_times(day: list[Happening]) -> None:
    assert list(islice(PromotionDay(7, RATE, START), 5_000)) == day[:5_000]


def test_another_seed_or_start_shares_no_event_id(day: list[Happening]) -> None:
    def ids(happenings: list[Happening]) -> set[str]:
        return {json.loads(h.message.value)["event_id"] for h in happenings if h.message.topic == "shop.views" and h.kind == "clean"}

    others = [PromotionDay(8, RATE, START), PromotionDay(7, RATE, START + timedelta(seconds=1))]
    assert not any(ids(day[:2_000]) & ids(list(islice(other, 2_000))) for other in others)


def test_messages_are_due_evenly_from_the_start_on(day: list[Happening]) -> None:
    assert [happening.at for happening in day[:3]] == [round(START.timestamp() * 1000) + n for n in range(3)]
    assert day[-1].at - day[0].at == SIZE - 1


def test_a_rate_of_nothing_is_refused() -> None:
    with pytest.raises(SettingsError, match="A rate of 0 messages per second is none"):
        PromotionDay(1, 0, START)


def test_the_topics_keep_their_shares(day: list[Happening]) -> None:
    counts = Counter(happening.message.topic for happening in day)
    wanted = {"shop.views": 35, "shop.searches": 15, "shop.orders": 15, "site.access": 20, "machine.metrics": 5, "app.logs": 10}
    assert {topic: pytest.approx(100 * count / SIZE, abs=1.5) for topic, count in counts.items()} == wanted


def test_duplicates_late_rows_and_poison_keep_their_shares(day: list[Happening]) -> None:
    assert share(day, "duplicate") == pytest.approx(0.005, abs=0.0015)
    assert share(day, "late") == pytest.approx(0.005, abs=0.0015)
    assert share(day, "poison") == pytest.approx(0.002, abs=0.001)


def test_without_trouble_every_message_is_clean() -> None:
    assert {happening.kind for happening in islice(PromotionDay(7, RATE, START, trouble=False), 5_000)} == {"clean"}


def test_a_duplicate_is_the_same_bytes_as_an_earlier_good_message(day: list[Happening]) -> None:
    seen: set[Message] = set()
    for happening in day:
        assert (happening.message in seen) == (happening.kind == "duplicate"), happening
        if happening.kind != "poison":
            seen.add(happening.message)


def test_clean_events_happen_when_they_are_sent_and_late_ones_hours_before(day: list[Happening]) -> None:
    views = [happening for happening in day if happening.message.topic == "shop.views" and happening.kind in ("clean", "late")]
    delays = defaultdict(list)
    for view in views:
        delays[view.kind].append(view.at / 1000 - datetime.fromisoformat(json.loads(view.message.value)["event_time"]).timestamp())
    assert max(map(abs, delays["clean"])) < 0.001
    assert min(delays["late"]) >= 60
    assert 3_600 < max(delays["late"]) <= 3 * 3_600 + 60


def test_every_way_to_spoil_a_message_occurs_with_its_reason() -> None:
    happenings = islice(PromotionDay(7, RATE, START), 200_000)
    seen = {(happening.message.topic, happening.reason) for happening in happenings if happening.kind == "poison"}
    assert {topic for topic, _ in seen} == {topic.name for topic in TOPICS}
    assert len(seen) >= 0.9 * sum(map(len, SPOILT.values()))
    assert all(reason in SPOILT[topic] for topic, reason in seen)


def test_every_clean_json_message_has_exactly_the_promised_fields_and_key(day: list[Happening]) -> None:
    for topic in (topic for topic in TOPICS if topic.codec == "json"):
        promised = {field.name.split(".")[0] for field in topic.fields}
        for message in unique_good(day, topic.name):
            payload = json.loads(message.value)
            assert set(payload) == promised
            assert message.key == (None if payload[topic.key] is None else payload[topic.key].encode())


def test_the_truth_of_orders_equals_a_recount_from_the_bytes(day: list[Happening], truth: dict) -> None:
    figures: dict[str, dict] = defaultdict(lambda: {"gmv": Decimal(0), "refund": Decimal(0), "units": 0, "sales": 0, "orders": set()})
    for message in unique_good(day, "shop.orders"):
        line = json.loads(message.value)
        figure, price = figures[line["currency"]], Decimal(line["unit_price"])
        if line["status"] == "PAID" and line["quantity"] > 0 and price > 0:
            figure["gmv"] += line["quantity"] * price
            figure["units"] += line["quantity"]
            figure["sales"] += 1
            figure["orders"].add(line["order_id"])
        elif line["status"] in ("CANCELLED", "REFUNDED"):
            figure["refund"] -= abs(line["quantity"]) * price
    assert truth["orders"] == {
        currency: {
            "gmv_amount": str(figure["gmv"]),
            "refund_amount": str(figure["refund"]),
            "unit_count": figure["units"],
            "sale_count": figure["sales"],
            "order_count": len(figure["orders"]),
        }
        for currency, figure in figures.items()
    }
    assert set(truth["orders"]) == {"CNY", "USD"}


def test_the_minutes_and_the_products_each_add_up_to_the_gmv(truth: dict) -> None:
    for currency, figures in truth["orders"].items():
        gmv = Decimal(figures["gmv_amount"])
        assert sum(Decimal(amounts.get(currency, 0)) for amounts in truth["gmv_amount_per_minute"].values()) == gmv
        assert sum(Decimal(sold["sales_amount"]) for sold in truth["sales_per_product"][currency].values()) == gmv
        assert sum(sold["unit_count"] for sold in truth["sales_per_product"][currency].values()) == figures["unit_count"]


def test_the_truth_of_the_site_equals_a_recount_from_the_lines(day: list[Happening], truth: dict) -> None:
    lines = [message.value.decode() for message in unique_good(day, "site.access")]
    pages = [
        line
        for line in lines
        if re.search(r'"GET [^ ?"]*(?<!\.png|\.jpg|\.ico|\.css|\.map|\.svg)(?<!\.js)(?<!\.woff)(\?\S*)? \S+" 200 ', line)
    ]
    assert truth["request_count"] == len(lines)
    assert truth["page_view_count"] == len(pages)
    assert truth["failed_count"] == sum(bool(re.search(r'" [45]\d\d ', line)) for line in lines)
    assert truth["request_count_per_ip"] == Counter(line.split()[0] for line in lines)


def test_the_truth_of_the_logs_counts_levels_and_not_the_word(day: list[Happening], truth: dict) -> None:
    events = [message.value.decode() for message in unique_good(day, "app.logs")]
    levels = Counter(
        json.loads(event)["level"].upper() if event.startswith("{") else re.search(r" (INFO|DEBUG|WARN|ERROR|FATAL) ", event)[1]
        for event in events
    )
    assert truth["events_per_level"] == levels
    assert truth["error_count"] == levels["ERROR"]
    assert sum("ERROR" in event for event in events) > levels["ERROR"]


def test_the_truth_counts_every_message_once(day: list[Happening], truth: dict) -> None:
    for topic in TOPICS:
        counts = truth["topics"][topic.name]
        assert counts["sent"] == sum(happening.message.topic == topic.name for happening in day)
        assert counts["sent"] == counts["valid"] + counts["duplicate"] + counts["poison"]
        assert counts["valid"] == len(unique_good(day, topic.name))


def test_an_order_is_placed_before_it_is_paid_and_paid_before_it_comes_back(day: list[Happening]) -> None:
    paths: dict[tuple[str, int], list[str]] = defaultdict(list)
    for happening in day:
        if happening.message.topic == "shop.orders" and happening.kind == "clean":
            line = json.loads(happening.message.value)
            paths[line["order_id"], line["line_number"]].append(line["status"])
    whole = ["PLACED", "PAID"]
    assert all(path[:2] == whole[: len(path)] for path in paths.values())
    assert {len(path) for path in paths.values()} == {1, 2, 3}
    assert {path[2] for path in paths.values() if len(path) == 3} == {"CANCELLED", "REFUNDED"}


def test_the_lines_of_an_order_are_paid_in_one_instant(day: list[Happening]) -> None:
    paid: dict[str, set[str]] = defaultdict(set)
    lines: Counter[str] = Counter()
    for message in unique_good(day, "shop.orders"):
        line = json.loads(message.value)
        if line["status"] == "PAID":
            paid[line["order_id"]].add(line["event_time"])
            lines[line["order_id"]] += 1
    assert all(len(times) == 1 for times in paid.values())
    assert set(lines.values()) == {1, 2, 3, 4}


def test_there_are_gifts_guests_coupons_and_prices_with_four_places(day: list[Happening]) -> None:
    orders = [json.loads(message.value) for message in unique_good(day, "shop.orders")]
    assert any(order["unit_price"] == "0" for order in orders)
    assert any(order["user_id"] is None for order in orders)
    assert any(order["coupon_id"] for order in orders)
    assert any(order["quantity"] < 0 for order in orders)
    assert max(len(order["unit_price"].partition(".")[2]) for order in orders) == 4


def test_most_paid_lines_follow_a_view_of_that_product_by_that_user(day: list[Happening]) -> None:
    seen: set[tuple[str, str]] = set()
    followed: list[bool] = []
    for happening in day:
        if happening.kind != "clean" or happening.message.topic not in ("shop.views", "shop.orders"):
            continue
        event = json.loads(happening.message.value)
        if happening.message.topic == "shop.views":
            seen.add((event["user_id"], event["product_id"]))
        elif event["status"] == "PAID" and event["user_id"] and event["line_number"] == 1:
            followed.append((event["user_id"], event["product_id"]) in seen)
    assert sum(followed) / len(followed) > 0.7
