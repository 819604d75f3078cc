"""What is sent on to other systems: chosen by level, masked already, named by its event."""

import json

from pyspark.sql import SparkSession

from frames import at, frame
from promolake.gold.forwarded_errors import FLOW

EVENTS = [
    {"event_id": "l-1", "event_time": at("00:00:00.5"), "level": "ERROR", "service": "pay", "logger": None, "message": "boom"},
    {"event_id": "l-2", "event_time": at("00:00:01"), "level": "INFO", "message": "an ERROR was handled"},
    {"event_id": "l-3", "event_time": at("00:00:02"), "level": "FATAL", "message": "out of memory"},
]


def sent(spark: SparkSession, *levels: str) -> dict[str, dict]:
    rows = FLOW.function(frame(spark, FLOW.reads, EVENTS), levels).collect()
    return {row["key"]: json.loads(row["value"]) for row in rows}


def test_an_event_of_a_chosen_level_is_sent_whole_and_an_info_that_mentions_an_error_is_not(spark: SparkSession) -> None:
    assert sent(spark, "ERROR") == {
        "l-1": {"event_id": "l-1", "event_time": "2026-11-11T00:00:00.500Z", "level": "ERROR", "service": "pay", "message": "boom"}
    }


def test_which_levels_are_sent_is_chosen(spark: SparkSession) -> None:
    assert set(sent(spark, "ERROR", "FATAL")) == {"l-1", "l-3"}
    assert sent(spark) == {}
