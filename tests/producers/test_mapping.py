"""The mapping language: what it takes, and what it refuses by file and key."""

from pathlib import Path

import pytest

from promolake.core.errors import SettingsError
from promolake.producers.mapping import mapping

SHIPPED = Path(__file__).parents[2] / "conf" / "replay"
VIEWS = "topic: shop.views\nformat: csv\nfields: {event_time: {from: t, time: iso}, product_id: p}\n"


def refusal(tmp_path: Path, text: str) -> str:
    file = tmp_path / "wrong.yaml"
    file.write_text(text, "utf-8")
    with pytest.raises(SettingsError) as caught:
        mapping(str(file))
    assert str(file) in caught.value.what
    return caught.value.what


@pytest.mark.parametrize("file", sorted(SHIPPED.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_shipped_mapping_is_valid(file: Path) -> None:
    assert mapping(file.stem, SHIPPED).topic


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(SettingsError, match=r"apache_combined, excite_queries"):
        mapping("nonsense", SHIPPED)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (VIEWS + "compression: gzip\n", "compression: "),
        (VIEWS.replace("time: iso", "tmie: iso"), "fields.event_time.tmie: "),
        (VIEWS.replace("product_id", "product"), "fields.product is not a field of shop.views"),
        (VIEWS.replace(", product_id: p", ""), "fields.product_id is missing"),
        (VIEWS.replace("p}", "p, event_id: e}"), "fields.event_id is not a field"),
        (VIEWS.replace("shop.views", "shop.vews"), "topic shop.vews is not one of"),
        (VIEWS.replace("p}", "{from: p, constant: c}}"), "fields.product_id: needs exactly one of from, constant, cases"),
        (VIEWS.replace("p}", "{from: p, regex: '('}}"), "fields.product_id.regex: is not a regular expression"),
        (VIEWS.replace("time: iso", "time: iso, zone: Mars"), "fields.event_time.zone: is not a time zone"),
        (VIEWS + "where: [{from: p}]\n", "where.0: a condition needs exactly one of"),
        (VIEWS + "event_starts: '^x'\n", "event_starts is for format lines only"),
        (VIEWS + "key: {constant: k}\n", "shop.views carries JSON"),
        ("topic: site.access\nformat: lines\nfields: {ip: a}\n", "site.access carries raw text"),
        ("topic: site.access\nformat: lines\nkey: host\n", "format lines has no column host"),
        ("topic: site.access\nformat: lines\nencodings: utf-88\n", "utf-88 is not an encoding"),
        ("topic: [\n", "is not YAML in line 2"),
        ("", "valid dictionary"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_its_file(tmp_path: Path, text: str, named: str) -> None:
    assert named in refusal(tmp_path, text)
