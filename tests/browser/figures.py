"""The figures of the screen, read off it, and the same asked of gold in SQL."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from promolake.serving.sql import Reader

Figures = dict[str, Any]
_CENT = Decimal("0.01")


def shown(page: Page) -> Figures:
    """What stands on the screen, all of it at one instant."""
    texts: dict[str, Any] = page.evaluate("""() => {
      const text = (name) => document.querySelector(`[data-${name}]`).textContent;
      const rows = (tile, part) => [...document.querySelectorAll(`#tile-${tile} .row .${part}`)].map((one) => one.textContent);
      return {
        ...Object.fromEntries(["ordered", "paid", "net", "sales", "pv", "uv"].map((name) => [name, text(name)])),
        products: rows("top_products", "name"), sold: rows("top_products", "value"),
        funnel: rows("funnel", "value"), ips: rows("top_ips", "name"), asked: rows("top_ips", "value"),
        machines: ["cpu", "mem", "io"].map(text),
        errors: document.querySelector("#tile-errors [data-note]").textContent.match(/[\\d,]+/g).slice(0, 2),
      };
    }""")
    names = {"products", "ips"}
    return {name: text if name in names else _numbers(text) for name, text in texts.items()}


def number(text: str) -> Decimal:
    return Decimal(re.sub(r"[^\d.-]", "", text))


def _numbers(text: str | list[str]) -> Decimal | list[Decimal]:
    return number(text) if isinstance(text, str) else [number(one) for one in text]


def in_gold(lake_root: Path) -> Figures:
    """The same in SQL."""
    with Reader(lake_root) as reader:

        def asked(sql: str) -> list[tuple]:
            return [tuple(row.values()) for row in reader.query(sql).to_pylist()]

        ((currency, ordered, paid, net, sales),) = asked(
            "SELECT currency, SUM(ordered_amount), SUM(gmv_amount), SUM(gmv_amount + refund_amount), SUM(sale_count) AS n "
            "FROM gold.gmv_per_minute GROUP BY currency ORDER BY n DESC LIMIT 1"
        )
        top = asked(
            "SELECT product_id, sales_amount FROM gold.top_products WHERE span = 'whole promotion' AND ranked_by = 'amount' "
            f"AND currency = '{currency}' ORDER BY rank"
        )
        ((views, visitors),) = asked("SELECT page_view_count, visitor_count FROM gold.visitors_per_day ORDER BY day DESC LIMIT 1")
        ((funnel),) = asked(
            "SELECT SUM(search_count), SUM(view_count), SUM(order_count) FROM gold.funnel_per_minute "
            "GROUP BY CAST(window_start AS DATE) ORDER BY CAST(window_start AS DATE) DESC LIMIT 1"
        )
        ips = asked("SELECT ip, request_count FROM gold.top_ips WHERE span = 'hour' AND rank <= 5 ORDER BY window_start DESC, rank LIMIT 5")
        ((machines),) = asked(
            "SELECT cpu_p75, mem_p75, io_p75 FROM gold.machine_metrics_per_minute WHERE host = '*' ORDER BY window_start DESC LIMIT 1"
        )
        ((errors),) = asked(
            "SELECT SUM(error_count), SUM(event_count) FROM gold.errors_per_minute "
            "WHERE window_start >= (SELECT MAX(window_end) - INTERVAL 1 HOUR FROM gold.errors_per_minute)"
        )
    return {
        "ordered": _rounded(ordered, _CENT), "paid": _rounded(paid, _CENT), "net": _rounded(net, _CENT), "sales": sales,
        "pv": views, "uv": visitors,
        "products": [product for product, _ in top], "sold": [_rounded(amount) for _, amount in top],
        "funnel": list(funnel), "ips": [ip for ip, _ in ips], "asked": [count for _, count in ips],
        "machines": [_rounded(Decimal(share)) for share in machines], "errors": list(errors),
    }  # fmt: skip


def _rounded(value: Decimal, to: Decimal = Decimal(1)) -> Decimal:
    return value.quantize(to, ROUND_HALF_UP)
