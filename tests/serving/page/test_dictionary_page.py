"""The dictionary on the page: everything has a place to link to, contracts stay text, and only a viewer sees it."""

from __future__ import annotations

import asyncio
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from promolake.cli.tables import the_dictionary
from promolake.core.table import Column
from promolake.serving.dictionary import Entry
from promolake.serving.page import dictionary
from promolake.serving.page.access import Access, Keyring
from promolake.serving.page.application import application
from promolake.serving.page.part import Role

ENTRIES = the_dictionary()


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring(tmp_path / "tokens.json")


def got(keyring: Keyring, path: str, entries: list[Entry] = ENTRIES, **headers: str) -> httpx.Response:
    """What the application answers to a request from this machine."""

    async def ask() -> httpx.Response:
        app = application([dictionary.part(entries)], Access(keyring))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(ask())


class Places(HTMLParser):
    """The ids of a page, and where its links to itself point."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids += [given["id"]] if "id" in given else []
        self.links |= {given["href"][1:]} if tag == "a" and given["href"].startswith("#") else set()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_everything_stands_on_the_page_once_and_every_link_finds_it(keyring: Keyring, language: str) -> None:
    answer = got(keyring, f"/dictionary?lang={language}", accept="text/html")
    assert answer.status_code == 200
    places = Places(answer.text)
    assert [name for name in places.ids if "." in name] == [entry.name for entry in ENTRIES]
    assert places.links <= {*places.ids}
    assert "Sum of the sales, in `currency`." in answer.text


def test_json_is_the_dictionary(keyring: Keyring) -> None:
    assert got(keyring, "/dictionary.json").json() == [_plain(entry) for entry in ENTRIES]


def _plain(entry: Entry) -> dict:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(entry).items()}


def test_a_contract_cannot_put_anything_but_text_on_the_page(keyring: Keyring) -> None:
    evil = '<script>alert(1)</script><img src=x onerror="alert(2)">'
    entry = replace(ENTRIES[-1], description=evil, columns=(Column(evil, evil, evil),))
    shown = got(keyring, "/dictionary", [entry]).text
    assert "<script>alert" not in shown
    assert not re.search(r"<img[^>]+onerror", shown)


@pytest.mark.parametrize("path", ["/dictionary", "/dictionary.json"])
def test_where_there_are_tokens_it_takes_one(keyring: Keyring, path: str) -> None:
    token = keyring.add("ann", Role.VIEWER)
    assert got(keyring, path).status_code == 401
    assert got(keyring, path, authorization="Bearer nonsense").status_code == 401
    assert got(keyring, path, authorization=f"Bearer {token}").status_code == 200
