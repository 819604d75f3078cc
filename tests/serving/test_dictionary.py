"""The dictionary says what the contracts say, of everything there is, and how each thing comes about."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from promolake.cli.tables import the_dictionary
from promolake.core.table import Table
from promolake.hallway import HALLWAY
from promolake.serving import catalog
from promolake.serving.dictionary import Entry
from promolake.serving.dictionary_text import entry_markdown, markdown
from promolake.serving.sql import Reader
from promolake.sources import TOPICS

COMMITTED = Path(__file__).parents[2] / "TABLES.md"
ENTRIES = the_dictionary()
NAMED = {entry.name: entry for entry in ENTRIES}
views = pytest.mark.parametrize("view", [entry for entry in ENTRIES if entry.kind == "view"], ids=lambda view: view.name)


def test_the_committed_text_is_what_the_contracts_say() -> None:
    assert COMMITTED.read_text() == markdown(ENTRIES), "run: promolake tables --format markdown > TABLES.md"


def test_every_topic_table_and_view_stands_in_it_once() -> None:
    names = [entry.name for entry in ENTRIES]
    assert len(names) == len(set(names))
    assert {*(topic.name for topic in TOPICS), *(table.name for table in HALLWAY.tables), *catalog.views()} <= {*names}
    assert {"ops.ledger", "ops.restatements", "ops.alerts", "ops.alert_states", "ops.audits"} <= {*names}


@pytest.mark.parametrize("table", HALLWAY.tables, ids=lambda table: table.name)
def test_a_tables_entry_is_its_contract(table: Table) -> None:
    entry = NAMED[table.name]
    assert (entry.columns, entry.grain, entry.written, entry.description) == (table.columns, table.grain, table.written, table.description)


def test_everything_is_made_from_what_its_flow_reads() -> None:
    assert NAMED["bronze.shop_orders"].reads == ("shop.orders",)
    assert NAMED["silver.orders"].reads == NAMED["silver.quarantine_orders"].reads == ("bronze.shop_orders",)
    assert NAMED["gold.funnel_per_minute"].reads == ("silver.searches", "silver.views", "silver.orders")
    assert NAMED["gold.conversion"].reads == ("gold.attributed_orders", "gold.funnel_per_minute")
    assert NAMED["app.logs.errors"].reads == ("silver.log_events",)


def test_what_feeds_is_what_reads_seen_from_the_other_side() -> None:
    assert {(entry.name, fed) for entry in ENTRIES for fed in entry.feeds} == {(read, e.name) for e in ENTRIES for read in e.reads}
    assert {read for entry in ENTRIES for read in entry.reads} <= NAMED.keys()


@views
def test_a_view_gives_every_column_a_meaning_and_nothing_else_one(view: Entry) -> None:
    assert [column.name for column in view.columns] == list(catalog.views()[view.name].meanings)
    assert [column.name for column in view.columns if not column.description.endswith(".")] == []


def test_a_views_types_are_those_of_its_answer(lake: Any) -> None:
    lake.sales((0, "CNY", "p1", "1", 3))
    with Reader(lake.root) as reader:
        answered = reader.query("SELECT * FROM gold.top_products").schema
    spark = {"string": "string", "int32": "int", "int64": "bigint", "decimal128(28, 4)": "decimal(28,4)"}
    spark |= {"timestamp[us, tz=UTC]": "timestamp"}
    assert [(column.name, column.type) for column in NAMED["gold.top_products"].columns] == [
        (field.name, spark[str(field.type)]) for field in answered
    ]


def test_what_holds_personal_data_in_clear_is_said_not_to_be_answered() -> None:
    hidden = {entry.name for entry in ENTRIES if not entry.shown and entry.kind == "table"}
    assert hidden == {table.name for table in HALLWAY.tables if table.layer == "bronze" or table.short.startswith("quarantine_")}
    assert "not by SQL" in entry_markdown(NAMED["bronze.shop_orders"])
    fields = {column.name: column.description for column in NAMED["shop.orders"].columns}
    assert [name for name, meaning in fields.items() if "Personal" in meaning] == [f.name for f in TOPICS[2].fields if f.sensitive]


def test_it_is_plain_json() -> None:
    there = json.loads(json.dumps([asdict(entry) for entry in ENTRIES]))
    assert there[0]["name"] == "shop.searches"
    assert there[0]["columns"][0] == {"name": "event_id", "type": "id", "description": "Unique per message. Required."}


def test_text_of_a_contract_cannot_break_the_page() -> None:
    entry = Entry("a.b", "table", "It.", (), "append", "x", HALLWAY.tables[0].columns, ())
    assert "array&lt;struct&lt;key" in entry_markdown(entry)
