"""From a row that crosses a threshold to the message a channel has taken, beside a promotion day at full rate."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from alerts.far_end import FarEnd, far_end
from bench.dataset import broker_with_topics
from bench.engines.engine import REPOSITORY
from bench.latency import until
from bench.machine import load
from bench.running import await_line, started
from promolake.cli.freshness import quantile
from promolake.engine.kafka import producer

EVENTS_PER_SECOND = 1000
WARM_UP_SECONDS = int(os.environ.get("WARM_UP", "30"))  # of crossing rows too: a cold JVM and a channel's first message are left out
SECONDS = int(os.environ.get("SECONDS", "120"))
EVERY_SECONDS = 0.5  # between two crossing rows: at other moments of a batch each
DRAIN_SECONDS = 60
GOAL_P99_S = 5.0
UNITS = 1000
RULE = {
    "alert": "Crossing",
    "table": "gold.sales_per_product_per_minute",
    "where": "starts_with(product_id, 'crossing-')",
    "by": ["product_id"],
    "value": "sum(unit_count)",
    "expr": f"value >= {UNITS}",
    "early": True,
}


@pytest.mark.bench
def test_a_message_is_accepted_within_five_seconds_of_the_row_that_crossed(tmp_path: Path) -> None:
    """From the row's event time on, with the shipped rules and their `group_wait`; each alert is the first of its group."""
    before = load()
    with far_end() as hook, broker_with_topics(tmp_path / "broker", print) as bootstrap:
        file = rules(tmp_path / "alerts.yaml", hook)
        (tmp_path / "home").mkdir()
        flows = started(tmp_path / "home", bootstrap, "run", PROMOLAKE_ALERTS__FILE=str(file), PROMOLAKE_CONF=str(REPOSITORY / "conf"))
        sender = None
        try:
            await_line(tmp_path / "home" / "run.log", "running", flows)
            sender = started(tmp_path / "home", bootstrap, "simulate", "--rate", str(EVENTS_PER_SECOND))
            sent = crossed(bootstrap, WARM_UP_SECONDS + SECONDS)
            until(lambda: sent.keys() <= accepted(hook).keys(), DRAIN_SECONDS)
            came = accepted(hook)
        finally:
            if sender:
                sender.stop()
            flows.stop(60)
    measured = [*sent.items()][int(WARM_UP_SECONDS / EVERY_SECONDS) :]
    found = sorted(came[product] - at for product, at in measured if product in came)
    p50, p99 = quantile(found, 0.5), quantile(found, 0.99)
    said = f"crossing row -> message accepted: p50 {p50:.2f} s, p99 {p99:.2f} s, at most {found[-1]:.2f} s" if found else "nothing came"
    print(f"\n{said} ({len(found)} of {len(measured)} alerts at {EVENTS_PER_SECOND} events a second; load {before:.1f} before)")
    assert sent.keys() - came.keys() == set(), "an alert was lost"
    assert p99 <= GOAL_P99_S, said


def rules(file: Path, hook: FarEnd) -> Path:
    """The shipped rules and one more, whose every alert is a group of its own, all told to the webhook."""
    shipped = yaml.safe_load((REPOSITORY / "conf" / "alerts.yaml").read_text())
    shipped["groups"].append({"name": "bench", "rules": [RULE]})
    shipped["route"]["routes"] = [{"matchers": ['alertname="Crossing"'], "group_by": ["alertname", "product_id"]}]
    shipped["receivers"] = [{"name": shipped["route"]["receiver"], "channels": [{"type": "webhook", "name": "hook", "base_url": hook.url}]}]
    file.write_text(yaml.safe_dump(shipped))
    return file


def crossed(bootstrap: str, seconds: float) -> dict[str, float]:
    """Sells UNITS of a new product again and again, when it is due whatever becomes of the row before; by product its event time."""
    sending = producer(bootstrap)
    sent: dict[str, float] = {}
    began = time.monotonic()
    for n in range(int(seconds / EVERY_SECONDS)):
        time.sleep(max(0.0, began + n * EVERY_SECONDS - time.monotonic()))
        product, at = f"crossing-{n}", int(time.time() * 1000) / 1000
        sending.send("shop.orders", json.dumps(order(product, at)).encode(), product.encode())
        sent[product] = at
    sending.flush(timeout=30)
    sending.close(timeout=5)
    return sent


def order(product: str, at: float) -> dict[str, Any]:
    event_time = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    line = {"order_id": product, "line_number": 1, "product_id": product, "quantity": UNITS, "unit_price": "1.00", "currency": "CNY"}
    return {"event_id": product, "event_time": event_time, "status": "PAID"} | line


def accepted(hook: FarEnd) -> dict[str, float]:
    """When the webhook was first told of each product, seconds since the epoch."""
    came: dict[str, float] = {}
    for request in [*hook.requests]:
        for alert in request.json["alerts"]:
            if alert["labels"]["alertname"] == "Crossing":
                came.setdefault(alert["labels"]["product_id"], request.at)
    return came
