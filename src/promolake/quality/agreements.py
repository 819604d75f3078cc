"""What must agree across tables: the ledger's counts with the rows there are, and sums of gold with each other and with silver."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from promolake.core.flow import Ingest
from promolake.quality.findings import CRITICAL, WARNING

LEDGER = "ops.ledger"
_SECONDS = "CAST(CAST({} AS BIGINT) AS DECIMAL(38, 6)) / 1000000"
Values = dict[str, Decimal]
"""A figure by its key: a currency, a UTC day, a topic."""
Ask = Callable[[str], "list[dict[str, Any]]"]
"""The rows of a query over a table, which it calls `t`. Counting and adding needs no Spark: delta-rs answers in a fiftieth of the time."""


@dataclass(frozen=True)
class Figure:
    """A figure of one table per key; both are SQL over its columns, as DataFusion reads it."""

    table: str
    sql: str
    by: str


@dataclass(frozen=True)
class Agreement:
    """Two figures that are equal for every key; of several on the right, their sum. A key that one side lacks is 0 there."""

    name: str
    description: str
    left: Figure
    right: tuple[Figure, ...]
    severity: str = CRITICAL

    @property
    def figures(self) -> tuple[Figure, ...]:
        return (self.left, *self.right)

    @property
    def tables(self) -> set[str]:
        return {figure.table for figure in self.figures}


def volumes(ingests: Iterable[Ingest]) -> tuple[Agreement, ...]:
    """Per topic: what the ledger counted against the rows there are, and whether silver is as new as the ledger."""
    ingests = tuple(ingests)
    bronze = tuple(Figure(flow.bronze.name, "count(*)", f"'{flow.topic.name}'") for flow in ingests)
    silver = tuple(Figure(flow.table.name, "count(*)", f"'{flow.topic.name}'") for flow in ingests)
    quarantine = tuple(Figure(flow.quarantine.name, "count(*)", f"'{flow.topic.name}'") for flow in ingests)

    def ledger(sql: str) -> Figure:
        return Figure(LEDGER, sql, "topic")

    return (
        Agreement("bronze_as_read", "Every record that was read stands in bronze.", ledger("sum(read_count)"), bronze),
        Agreement(
            "nothing_lost",
            "Every record that was read and is no repetition stands in silver or in quarantine.",
            ledger("sum(read_count - duplicate_count)"),
            (*silver, *quarantine),
        ),
        Agreement(
            "books_balance", "read = valid + quarantined + duplicate.", ledger("sum(read_count)"),
            (ledger("sum(valid_count + quarantined_count + duplicate_count)"),),
        ),
        Agreement("silver_as_counted", "Silver holds as many rows as became valid.", ledger("sum(valid_count)"), silver),
        Agreement(
            "silver_as_new_as_the_ledger",
            "The newest row of silver is of the newest batch that had a valid one (seconds since 1970); "
            "a rebuild under a stricter rule makes it differ.",
            ledger(_SECONDS.format("max(CASE WHEN valid_count > 0 AND query <> 'rebuild' THEN ingested_at END)")),
            tuple(map(newest, ingests)),
            WARNING,
        ),
    )  # fmt: skip


def newest(flow: Ingest) -> Figure:
    """When the entity's newest row was taken in, in seconds since 1970."""
    return Figure(flow.table.name, _SECONDS.format("max(ingested_at)"), f"'{flow.topic.name}'")


_SALE = "status = 'PAID' AND line_amount > 0"
_DAY = "CAST(window_start AS DATE)"


def _sum(
    name: str, description: str, left: tuple[str, str], right: tuple[str, str], by: str, right_by: str, severity: str = CRITICAL
) -> Agreement:
    return Agreement(name, description, Figure(*left, by), (Figure(*right, right_by),), severity)


def _per_day(name: str, description: str, left: tuple[str, str], right: tuple[str, str], severity: str = CRITICAL) -> Agreement:
    """Gold by the day of its windows, silver by the day of its events."""
    left_by, right_by = ("CAST(event_time AS DATE)" if _is_of_events(table) else _DAY for table, _ in (left, right))
    return _sum(name, description, left, right, left_by, right_by, severity)


def _is_of_events(table: str) -> bool:
    return table.startswith("silver.") or table == "gold.attributed_orders"


GMV, SALES, ORDERS = "gold.gmv_per_minute", "gold.sales_per_product_per_minute", "silver.orders"
TRAFFIC, PER_IP, REQUESTS = "gold.traffic_per_minute", "gold.requests_per_ip_per_minute", "silver.requests"
ERRORS, LOG_EVENTS, FUNNEL = "gold.errors_per_minute", "silver.log_events", "gold.funnel_per_minute"
METRICS, SAMPLES, ATTRIBUTED = "gold.machine_metrics_per_minute", "silver.machine_metrics", "gold.attributed_orders"

SUMS = (
    *(
        _sum(f"{name}_as_sold", f"{words}, by category and by product, are the same per currency.", (GMV, f"sum({name})"),
             (SALES, f"sum({other})"), "currency", "currency")
        for name, other, words in (
            ("gmv_amount", "sales_amount", "Sales"),
            ("unit_count", "unit_count", "Units sold"),
            ("sale_count", "sale_count", "Order lines sold"),
        )
    ),
    _sum("gmv_as_paid", "GMV is the sum of the paid lines, per currency.", (GMV, "sum(gmv_amount)"),
         (ORDERS, f"sum(CASE WHEN {_SALE} THEN line_amount END)"), "currency", "currency"),
    _sum("refunds_as_returned", "Refunds are the sum of the cancelled and refunded lines, per currency.", (GMV, "sum(refund_amount)"),
         (ORDERS, "sum(CASE WHEN status IN ('CANCELLED', 'REFUNDED') THEN -abs(line_amount) END)"), "currency", "currency"),
    *(
        _per_day(f"{name}_by_ip", f"{words}, in all and by IP address, are the same per day.", (TRAFFIC, f"sum({name})"),
                 (PER_IP, f"sum({name})"))
        for name, words in (("request_count", "Requests"), ("page_view_count", "Page views"), ("failed_count", "Failed requests"))
    ),
    _per_day("requests_as_logged", "Traffic counts every request.", (TRAFFIC, "sum(request_count)"), (REQUESTS, "count(*)")),
    _per_day("log_events_as_logged", "The events errors are a share of are all log events.", (ERRORS, "sum(event_count)"),
             (LOG_EVENTS, "count(*)")),
    _per_day("errors_as_logged", "Errors are the log events of level ERROR.", (ERRORS, "sum(error_count)"),
             (LOG_EVENTS, "count(*) FILTER (WHERE level = 'ERROR')")),
    _per_day("samples_per_host", "Every sample counts for its host.", (METRICS, "sum(CASE WHEN host <> '*' THEN sample_count END)"),
             (SAMPLES, "count(*)")),
    _per_day("samples_of_all_hosts", "Every sample counts for all hosts together.",
             (METRICS, "sum(CASE WHEN host = '*' THEN sample_count END)"), (SAMPLES, "count(*)")),
    _per_day("searches_in_the_funnel", "The funnel counts every search.", (FUNNEL, "sum(search_count)"), ("silver.searches", "count(*)")),
    _per_day("views_in_the_funnel", "The funnel counts every product view.", (FUNNEL, "sum(view_count)"), ("silver.views", "count(*)")),
    _per_day("orders_in_the_funnel", "The funnel counts the orders with a sale, once a minute.", (FUNNEL, "sum(order_count)"),
             (ORDERS, f"count(DISTINCT concat(CAST(date_trunc('minute', event_time) AS VARCHAR), order_id)) FILTER (WHERE {_SALE})")),
    _per_day("paid_lines_attributed", "Every paid line stands in attributed_orders; exact only after `run --once` or a rebuild.",
             (ATTRIBUTED, "count(*)"), (ORDERS, "count(*) FILTER (WHERE status = 'PAID')"), WARNING),
)  # fmt: skip


def measured(figures: Iterable[Figure], ask: Mapping[str, Ask]) -> dict[Figure, Values]:
    """Every figure; `ask` answers for each of their tables, by name."""
    grouped: dict[tuple[str, str], list[Figure]] = defaultdict(list)
    for figure in figures:
        grouped[figure.table, figure.by].append(figure)
    found: dict[Figure, Values] = {}
    for (table, by), together in grouped.items():
        sums = ", ".join(f"CAST({figure.sql} AS DECIMAL(38, 6)) AS f{n}" for n, figure in enumerate(together))
        rows = ask[table](f"SELECT CAST({by} AS VARCHAR) AS key, {sums} FROM t GROUP BY 1")
        for n, figure in enumerate(together):
            found[figure] = {row["key"]: row[f"f{n}"] or Decimal(0) for row in rows}
    return found


def sides(agreement: Agreement, found: Mapping[Figure, Values]) -> dict[str, tuple[Decimal, Decimal]]:
    """Both sides of the agreement by key."""
    left = found[agreement.left]
    right: dict[str, Decimal] = defaultdict(Decimal)
    for figure in agreement.right:
        for key, value in found[figure].items():
            right[key] += value
    return {key: (left.get(key, Decimal(0)), right[key]) for key in sorted({*left, *right}, key=str)}
