"""The operations page as an operator uses it: in Chromium, by eye, by keyboard, on a phone, and when the server goes away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from browser.conftest import Server
from promolake.alerts.silences import Silences
from promolake.engine.ledger import LEDGER
from promolake.engine.lock import writing
from promolake.hallway import HALLWAY
from promolake.serving.page.access import Keyring
from promolake.serving.page.part import Role
from serving.conftest import Lake
from serving.page.home import checkpoint, entry, filled

SOON = {"timeout": 20_000}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def lake(home: Path) -> Lake:
    return Lake(home / "lake")


@pytest.fixture
def server(home: Path, lake: Lake) -> Iterator[Server]:
    with served(home, lake) as server:
        yield server


@pytest.fixture(scope="module")
def standing_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Over a home that no test changes."""
    home = tmp_path_factory.mktemp("standing")
    with served(home, Lake(home / "lake")) as server:
        yield server


@contextmanager
def served(home: Path, lake: Lake) -> Iterator[Server]:
    filled(lake)
    checkpoint(home)
    server = Server(home)
    server.start()
    yield server
    server.stop()


def opened(chromium: Browser, server: Server, **options: object) -> tuple[Page, list[str]]:
    """The page, and what its console says."""
    page = chromium.new_context(**options).new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(f"{server.url}/operations")
    return page, said


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_everybody_can_read_it_and_the_console_is_silent(chromium: Browser, standing_server: Server, scheme: str, language: str) -> None:
    page, said = opened(chromium, standing_server, color_scheme=scheme, locale=language, viewport={"width": 1300, "height": 900})
    found = Axe().run(page)
    assert [(one["id"], one["nodes"][0]["html"]) for one in found.response["violations"]] == []
    assert page.title() == ("Operations · promolake" if language == "en" else "运维 · promolake")
    assert said == []


def test_on_a_phone_tables_scroll_and_the_page_does_not(chromium: Browser, standing_server: Server) -> None:
    page, _ = opened(chromium, standing_server, viewport={"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("[...document.querySelectorAll('.wide')].some(one => one.scrollWidth > one.clientWidth)")


def test_what_a_product_or_an_alert_says_stays_text(chromium: Browser, standing_server: Server) -> None:
    page, _ = opened(chromium, standing_server)
    assert page.get_by_text("<script>alert(1)</script> 192.0.2.1").count() == 1


def test_new_figures_come_by_themselves(chromium: Browser, server: Server, home: Path, lake: Lake) -> None:
    page, said = opened(chromium, server)
    assert page.locator("tr", has_text="shop.orders").first.locator("td").nth(2).inner_text() == "160"
    lake.add(LEDGER, [entry(9, 0, 1, read=1_000, valid=1_000, quarantined=0, duplicate=0, late=0)])
    with writing(home, HALLWAY.tables[:1]):
        page.get_by_text("writes this lake").wait_for(**SOON)
        assert page.locator("tr", has_text="shop.orders").first.locator("td").nth(2).inner_text() == "1,160"
    assert said == []


def test_a_server_that_goes_away_is_said_with_the_age_of_what_stands_there(chromium: Browser, server: Server) -> None:
    page, _ = opened(chromium, server)
    assert not page.locator("#lost").is_visible()
    server.stop()
    page.locator("#lost").wait_for(**SOON)
    assert "The server does not answer. What stands below is of 20" in page.locator("#lost").inner_text()


def test_a_silence_is_made_and_ended_by_keyboard(chromium: Browser, server: Server, home: Path) -> None:
    page, said = opened(chromium, server)
    page.get_by_label("Matchers").focus()
    for text in ("alertname=IpFlood", "2h", "load test", "me"):
        page.keyboard.press("Control+A")
        page.keyboard.type(text)
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="End alertname=IpFlood").wait_for(**SOON)
    (silence,) = Silences(home).all()
    assert (silence.created_by, silence.comment) == ("me", "load test")
    page.get_by_role("button", name="End alertname=IpFlood").focus()
    page.keyboard.press("Enter")
    page.get_by_text("Nothing is silenced.").wait_for(**SOON)
    assert said == []


def test_a_page_of_another_site_cannot_silence_in_an_operators_browser(chromium: Browser, server: Server, home: Path) -> None:
    """Neither by the open door of this machine nor by a session's cookie, which goes to its own site alone."""
    token = Keyring(home / "tokens.json").add("o", Role.OPERATOR)
    page, _ = opened(chromium, server)
    page.get_by_label("Token").fill(token)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{server.url}/")
    form = f'<form method="post" action="{server.url}/operations/silences"><input name="matchers" value="a=b"><button>go</button></form>'
    page.route("http://evil.example/", lambda route: route.fulfill(body=form, content_type="text/html"))
    page.goto("http://evil.example/")
    with page.expect_navigation() as answered:
        page.get_by_role("button", name="go").click()
    assert answered.value.status == 403
    assert Silences(home).all() == ()
