"""What is said first: the truth, with its age, and never more than is known."""

from __future__ import annotations

import pytest

from promolake.serving.page.outside import Disk, Query
from promolake.serving.page.rendering import LANGUAGES, words
from promolake.serving.page.saying import Saying
from promolake.serving.page.truths import truths
from serving.page.home import NOW, seconds
from serving.page.world import World


def told(world: World) -> list[tuple[str, str]]:
    standing = world.now()
    return [(truth.level, truth.sentence) for truth in truths(standing, Saying(standing.at, words("en")))]


def test_when_all_is_well_two_sentences_say_so(empty: World) -> None:
    assert told(empty) == [
        ("good", "Process 4711 writes this lake; its newest batch ended 7 s ago."),
        ("good", "The Kafka broker at 127.0.0.1:9092 answers."),
    ]


def test_no_run_is_said_with_the_age_of_what_is_there(empty: World) -> None:
    empty.change(running=())
    assert told(empty)[0] == ("bad", "No run is alive: nothing is taken in. The newest batch ended 7 s ago.")
    empty.change(queries=())
    assert told(empty)[0] == ("bad", "No run is alive: nothing is taken in. The newest batch ended never.")


def test_a_broker_that_is_away_is_said_and_the_lag_is_not_guessed(empty: World) -> None:
    empty.change(ends=None)
    assert told(empty)[1] == (
        "bad", "The Kafka broker at 127.0.0.1:9092 does not answer: how far the flows are behind is not known."
    )  # fmt: skip
    empty.change(broker="")
    assert told(empty)[1][0] == "bad"
    assert "No Kafka broker is configured" in told(empty)[1][1]


def test_records_that_wait_while_no_batch_ends_are_trouble(empty: World) -> None:
    old = Query("main", 2, 2, seconds(400), seconds(300), (), {"shop.orders": {0: 100, 1: 50}})
    empty.change(queries=(old,))
    assert told(empty)[2] == ("bad", "30 records wait in Kafka, and no batch has ended since: the newest 5 min ago.")
    empty.change(ends={("shop.orders", 0): 100, ("shop.orders", 1): 50})  # nothing waits: a quiet night is no trouble
    assert len(told(empty)) == 2


def test_a_batch_that_takes_long_is_told_from_one_that_was_left(empty: World) -> None:
    empty.change(queries=(Query("main", 3, 2, seconds(90), seconds(100)),), ends={})
    assert told(empty)[2] == ("warn", "The query main has had batch 3 in hand since it was planned 90 s ago.")
    empty.change(queries=(Query("main", 3, 2, seconds(90), seconds(100)), Query("join", 1, 0, seconds(2), seconds(3))), running=())
    assert told(empty)[3][1] == "The query join left batch 1 unfinished, planned 2 s ago: the next run does it again."
    assert told(empty)[2] == ("warn", "The query main left batch 3 unfinished, planned 90 s ago: the next run does it again.")


def test_what_was_given_up_is_said(world: World) -> None:
    world.change(
        stopped={"gold.gmv_per_minute": 7}, notifications={"sms": {"dead": 2}, "wecom": {"dead": 1}}, disk=Disk(NOW, {}, 90_000, 1_000_000)
    )
    assert told(world)[2:] == [
        ("bad", "gold.gmv_per_minute is left out since batch 7. Mend it, then: promolake rebuild gold.gmv_per_minute"),
        ("bad", "The last audit, 10 min ago, found 1 critical expectations broken."),
        ("warn", "3 notifications could not be delivered: promolake alerts deliveries --retry-dead"),
        ("bad", "Only 90 kB are free on the disk of this home."),
    ]


def test_every_language_says_everything_with_the_same_figures() -> None:
    english = words("en")
    for language in LANGUAGES:
        other = words(language)
        assert other.keys() == english.keys()
        for key, text in english.items():
            if key.startswith("ops_"):
                assert sorted(part.split("}")[0] for part in text.split("{")[1:]) == sorted(
                    part.split("}")[0] for part in other[key].split("{")[1:]
                ), key


SAY = Saying(NOW, words("en"))


@pytest.mark.parametrize(
    ("ago", "said"),
    [(0, "0 s ago"), (119, "119 s ago"), (120, "2 min ago"), (7200, "2 h ago"), (200_000, "2 d ago"), (-60, "in 60 s")],
)
def test_an_age_is_said_in_the_largest_unit_of_which_there_are_two(ago: float, said: str) -> None:
    assert SAY.age(seconds(ago)) == said


@pytest.mark.parametrize(
    ("bytes_", "said"), [(0, "0 B"), (999, "999 B"), (1500, "2 kB"), (2_000_000, "2.0 MB"), (123_456_789, "123 MB"), (5e12, "5.0 TB")]
)
def test_a_size_is_said_in_powers_of_1000(bytes_: float, said: str) -> None:
    assert SAY.size(bytes_) == said
