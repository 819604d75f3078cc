"""The hallway is drawn from its flows: all of them, only them, and the same each time."""

from __future__ import annotations

import runpy
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest

from promolake.core.flow import Hallway
from promolake.hallway import HALLWAY
from promolake.serving import catalog
from promolake.serving.page.drawing import WORDS, View, drawing
from promolake.serving.page.rendering import words

SVG = "{http://www.w3.org/2000/svg}"
SCRIPT = Path(__file__).parents[3] / "infra" / "pictures" / "hallway.py"
VIEWS = [View(view.name, view.reads) for view in catalog.views().values()]


def drawn(hallway: Hallway = HALLWAY, **given: object) -> Xml.Element:
    return Xml.fromstring(drawing(hallway, VIEWS, **given))


def boxes(picture: Xml.Element) -> dict[str, tuple[str, str]]:
    """What kind a box is and what its second line says, by its first line."""
    groups = list(picture.iter(f"{SVG}g"))
    return {group[1].text: (group.get("class"), group[2].text or "") for group in groups}


def test_the_committed_picture_is_what_the_script_makes() -> None:
    module = runpy.run_path(str(SCRIPT))
    assert module["FILE"].read_text(encoding="utf-8") == module["picture"](), "run: python infra/pictures/hallway.py"


def test_every_flow_has_its_boxes() -> None:
    found = boxes(drawn())
    names = {flow.topic.name for flow in HALLWAY.ingests} | {flow.topic for flow in HALLWAY.forwards} | {"ops.alerts"}
    names |= {table.short for table in HALLWAY.tables} | {view.name.removeprefix("gold.") for view in VIEWS}
    assert found.keys() == names
    assert found["gmv_per_minute"] == ("box gold", "replace")
    assert found["attributed_orders"] == ("box join", "replace")
    assert found["app.logs.errors"] == ("box forward", "Kafka topic")
    assert found["quarantine_orders"] == ("box quarantine", "each row with every rule it broke")


def test_every_table_a_flow_reads_leads_to_it() -> None:
    edges = [path.get("class") for path in drawn().iter(f"{SVG}path") if path.get("class") != "tip"]
    assert edges.count("edge to-gold") == sum(len(flow.reads) for flow in HALLWAY.metrics)
    assert edges.count("edge to-join") == sum(len(flow.reads) for flow in HALLWAY.joins)
    assert edges.count("edge to-forward") == len(HALLWAY.forwards)
    assert edges.count("edge to-silver") == edges.count("edge to-quarantine") == len(HALLWAY.ingests)
    assert edges.count("edge to-alerts") == len(HALLWAY.metrics)


def test_no_two_boxes_overlap_and_all_are_inside() -> None:
    picture = drawn()
    _, _, width, height = map(float, picture.get("viewBox").split())
    places = [tuple(float(rect.get(side)) for side in ("x", "y", "width", "height")) for rect in picture.iter(f"{SVG}rect")]
    for n, (x, y, w, h) in enumerate(places):
        assert x >= 0
        assert x + w <= width
        assert y + h <= height
        for x2, y2, w2, h2 in places[:n]:
            assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y


def test_live_figures_and_states_stand_in_the_boxes() -> None:
    found = boxes(drawn(notes={"shop.orders": "12/s"}, marks={"gold.gmv_per_minute": "stopped"}))
    assert found["shop.orders"] == ("box topic", "12/s")
    assert found["gmv_per_minute"] == ("box gold stopped", "replace")


def test_who_cannot_see_it_is_told_the_same_in_words() -> None:
    picture = drawn(notes={"shop.orders": "12/s"})
    title, said = picture.find(f"{SVG}title"), picture.find(f"{SVG}desc")
    assert picture.get("role") == "img"
    assert picture.get("aria-labelledby").split() == [title.get("id"), said.get("id")]
    assert "shop.orders: 12/s." in said.text
    assert "gold.funnel_per_minute (from silver.searches, silver.views, silver.orders): replace." in said.text


def test_nothing_a_strict_policy_would_block_is_in_it() -> None:
    text = drawing(HALLWAY, VIEWS)
    assert "style" not in text
    assert "<script" not in text
    assert "<text" in text


def test_text_is_escaped() -> None:
    assert boxes(drawn(notes={"shop.orders": "<b>&"}))["shop.orders"][1] == "<b>&"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_word_of_it_is_in_every_language(language: str) -> None:
    assert {f"hallway_{word}" for word in WORDS} <= words(language).keys()


def test_its_english_is_the_pages() -> None:
    assert {word: words("en")[f"hallway_{word}"] for word in WORDS} == WORDS


def test_half_a_hallway_is_drawn_too() -> None:
    assert "shop.orders" in boxes(drawn(Hallway(HALLWAY.ingests[2:3], (), (), ())))
