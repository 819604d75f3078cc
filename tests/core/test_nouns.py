"""The nouns of the house: small, frozen, and refusing what could not be kept."""

import re
from dataclasses import FrozenInstanceError

import pytest

from promolake.core import errors
from promolake.core.flow import Hallway, Ingest, Metric, Reads
from promolake.core.table import Column, Table, Written
from promolake.core.topic import Field, Topic

TABLE = Table(
    "gold.a_per_minute", "A.", (Column("minute", "timestamp", "M."), Column("a_count", "bigint", "A.")), Written.REPLACE, ("minute",)
)
OTHER = Table("silver.others", "Others.", (Column("event_id", "string", "Id."),))


def test_a_table_knows_its_layer_its_module_and_what_stands_outside_its_grain() -> None:
    assert (TABLE.layer, TABLE.short) == ("gold", "a_per_minute")
    assert TABLE.column_names == ("minute", "a_count")
    assert TABLE.figures == ("a_count",)
    assert TABLE.ddl == "`minute` timestamp, `a_count` bigint"


def test_a_nested_field_has_a_path_and_a_flat_name() -> None:
    field = Field("receiver.phone", "text", "Phone.")
    assert (field.path, field.flat) == (("receiver", "phone"), "receiver_phone")


def test_a_topics_slug_is_an_identifier() -> None:
    assert Topic("shop.orders", "", "json", "order_id", (), ()).slug == "shop_orders"


def test_what_accumulates_reads_exactly_one_table() -> None:
    accumulated = Table("gold.a_per_minute", "A.", TABLE.columns, Written.ACCUMULATE, ("minute",))
    one = Reads(OTHER, ("event_id",))
    assert Metric(accumulated, (one,), lambda rows: rows).table is accumulated
    assert Metric(TABLE, (one, one), lambda rows, others: rows).table is TABLE
    with pytest.raises(ValueError, match=r"gold\.a_per_minute accumulates, so it reads exactly one table"):
        Metric(accumulated, (one, one), lambda rows, others: rows)


def test_the_hallway_lists_every_table_in_the_order_data_walks() -> None:
    bronze, quarantine = Table("bronze.t", "", ()), Table("silver.quarantine_others", "", ())
    ingest = Ingest(Topic("t", "", "json", "id", (), ()), bronze, OTHER, quarantine, lambda row: {}, ())
    metric = Metric(TABLE, (Reads(OTHER, ("event_id",)),), lambda rows: rows)
    assert Hallway((ingest,), (metric,), (), ()).tables == (bronze, OTHER, quarantine, TABLE)


def test_nouns_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        TABLE.name = "gold.other"  # type: ignore[misc]


def test_an_error_says_what_happened_and_what_to_do() -> None:
    error = errors.BrokerAway("No broker answers at localhost:1.", "Start one with `promolake local up`.")
    assert str(error) == "No broker answers at localhost:1. Start one with `promolake local up`."
    assert str(errors.FlowFailed("The query ended.")) == "The query ended."


def test_the_tree_of_errors_is_drawn_as_it_is() -> None:
    drawn = {name: int(code) for name, code in re.findall(r"(\w+) +(\d+) ", errors.__doc__)}
    classes = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.PromolakeError)]
    assert drawn == {one.__name__: one.exit_code for one in classes}
    assert len(set(drawn.values())) == len(drawn)
