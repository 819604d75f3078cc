"""What people see: the figures of gold, as they change, on any screen, and nothing but text in them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from browser.figures import in_gold, number, shown
from promolake.serving.page.access import Keyring
from promolake.serving.page.part import Role
from promotion import Promotion, at, busy, sale, sold

XSS = "<img src=x onerror=\"window.pwned=1\"><script>window.pwned=1</script>"
DESK = {"width": 1920, "height": 1080}
PHONE = {"width": 390, "height": 844}
WITH_FIGURES_MS = 1500  # from the request to figures on the screen


def figure(page: Page, name: str) -> Decimal:
    return number(page.locator(f"[data-{name}]").inner_text())


# --- figures -------------------------------------------------------------------------------------------------------------------


def test_the_figures_on_the_screen_are_those_of_sql(guest: Callable, standing: Promotion) -> None:
    page = guest(viewport=DESK).open_screen()
    assert shown(page) == in_gold(standing.root)
    assert page.locator("#tile-top_products .row .value").first.inner_text().startswith("¥")
    assert page.locator("#tile-top_ips .row .value").first.inner_text().endswith("requests")
    expect(page.locator("#tile-alerts .alert")).to_contain_text("GMV in CNY fell to 13200 a minute")


def test_a_new_commit_shows_without_a_reload(guest: Callable, promotion: Promotion) -> None:
    page = guest().open_screen()
    before = figure(page, "paid")
    page.evaluate("window.mark = 1")
    promotion.batch({"gmv_per_minute": [sale(30, "CNY", "1000.25")]}, at(30.5))
    expect(page.locator("[data-paid]")).to_have_text(f"¥{before + Decimal('1000.25'):,.2f}")
    assert page.evaluate("window.mark") == 1


def test_a_killed_server_is_found_again(guest: Callable, server, promotion: Promotion) -> None:
    visitor = guest()
    page = visitor.open_screen()
    page.evaluate("window.mark = 1")
    server.kill()
    expect(page.locator("#connection")).to_contain_text("reconnecting")
    expect(page.locator("#banner")).to_contain_text("Connection lost. These figures are from")
    before = figure(page, "paid")
    promotion.batch({"gmv_per_minute": [sale(31, "CNY", "7")]}, at(31.5))
    server.start()
    expect(page.locator("[data-paid]")).to_have_text(f"¥{before + 7:,.2f}")
    expect(page.locator("#connection")).to_contain_text("live")
    expect(page.locator("#banner")).to_be_hidden()
    assert page.evaluate("window.mark") == 1
    assert all("ERR_CONNECTION_REFUSED" in wrong or "ERR_INCOMPLETE_CHUNKED" in wrong for wrong in visitor.wrong)
    visitor.wrong.clear()


def test_what_goes_wrong_is_said_in_the_visitors_language(guest: Callable, server, promotion: Promotion) -> None:
    visitor = guest(locale="zh-CN")
    files = list((promotion.root / "gold" / "gmv_per_minute").glob("*.parquet"))
    for file in files:
        file.rename(f"{file}.away")
    then = visitor.open(f"/?at={datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}Z")
    expect(then.locator("#banner")).to_contain_text("UTC 的文件已被清除。请选择更晚的时间。")
    for file in files:
        Path(f"{file}.away").rename(file)
    page, box = visitor.open_screen(), visitor.open("/sql")
    box.locator("#sql").fill("DROP TABLE x")
    box.locator("#run").click()
    expect(box.locator("#said")).to_contain_text("每次只接受一条查询")
    server.kill()
    expect(page.locator("#banner")).to_contain_text("连接已断开")
    expect(page.locator("#connection")).to_contain_text("重新连接中")
    box.locator("#run").click()
    expect(box.locator("#said")).to_have_text("页面没有应答。它还在运行吗？")  # noqa: RUF001
    assert all(re.search("400|ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED", wrong) for wrong in visitor.wrong)
    visitor.wrong.clear()


def test_every_tile_says_how_final_its_figures_are(guest: Callable) -> None:
    page = guest().open_screen()
    tiles = page.locator("[data-fresh]:visible")
    assert tiles.count() == 8
    assert all(text.startswith("provisional after 00:19 to 00:30") for text in tiles.all_inner_texts())


def test_the_screen_of_an_earlier_time(guest: Callable, promotion: Promotion) -> None:
    visitor = guest()
    before = figure(visitor.open_screen(), "paid")
    then = datetime.now(UTC)
    promotion.batch({"gmv_per_minute": [sale(30, "CNY", "1")]}, at(30.5))
    page = visitor.open_screen(f"/?at={then:%Y-%m-%dT%H:%M:%S.%f}Z")
    expect(page.locator("#connection")).to_contain_text(f"as of {then:%Y-%m-%d %H:%M}")
    assert figure(page, "paid") == before
    page.get_by_role("link", name="Back to live").click()
    expect(page.locator("[data-paid]")).to_have_text(f"¥{before + 1:,.2f}")


def test_a_time_before_all_figures_says_so(guest: Callable) -> None:
    page = guest().open("/?at=2020-01-01T00:00:00Z")
    expect(page.locator("#banner")).to_have_text("At 2020-01-01T00:00:00Z there was no figure yet.")


# --- nothing but text ------------------------------------------------------------------------------------------------------------


def test_markup_in_names_and_queries_stays_text(guest: Callable, promotion: Promotion) -> None:
    promotion.batch({"sales_per_product_per_minute": [sold(30, XSS, "99999999")]}, at(30.5))
    promotion.alert(XSS, "<b>bold</b>", 29)
    visitor = guest()
    page = visitor.open_screen()
    expect(page.locator("#tile-top_products .name").first).to_have_text(XSS)
    expect(page.locator("#tile-alerts .alert").first).to_contain_text(XSS)
    box = visitor.open("/sql?sql=</textarea>" + XSS)
    named = XSS.replace('"', "")
    box.fill("#sql", f"SELECT product_id AS \"{named}\" FROM gold.sales_per_product_per_minute WHERE sales_amount = 99999999")
    box.click("#run")
    expect(box.locator("tbody td").first).to_have_text(XSS)
    box.fill("#sql", f"SELECT {XSS}")
    box.click("#run")
    expect(box.locator("#said.wrong")).to_be_visible()
    for one in (page, box):
        assert one.evaluate("window.pwned") is None
        assert one.locator("img[src=x]").count() == 0
    assert ["400" in wrong for wrong in visitor.wrong] == [True]  # the query that was refused
    visitor.wrong.clear()


def test_the_sql_box_answers_and_can_be_used_by_keyboard(guest: Callable) -> None:
    page = guest().open("/sql")
    page.fill("#sql", "SELECT COUNT(*) AS n, 1.50 AS m FROM gold.gmv_per_minute")
    page.press("#sql", "Control+Enter")
    expect(page.locator("tbody td")).to_have_text(["60", "1.50"])
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    assert download.value.path().read_text().splitlines() == ["n,m", "60,1.50"]


# --- any screen, any visitor -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(guest: Callable, theme: str) -> None:
    """Contrast, labels, roles, order of headings: https://github.com/dequelabs/axe-core."""
    visitor = guest(viewport=DESK, color_scheme=theme, reduced_motion="reduce")
    box = visitor.open("/sql")
    box.click("#run")
    expect(box.locator("tbody td").first).to_be_visible()
    for page in (visitor.open_screen(), box, visitor.open("/operations")):
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()


def test_axe_finds_nothing_at_the_door(guest: Callable, promotion: Promotion) -> None:
    token = Keyring(promotion.root.parent / "tokens.json").add("wall", Role.VIEWER)
    visitor = guest()
    page = visitor.open()
    assert Axe().run(page).violations_count == 0
    page.get_by_label("Token").fill(token)
    page.keyboard.press("Enter")
    page.wait_for_selector("#wall[data-cut]")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    visitor.wrong = [wrong for wrong in visitor.wrong if "401" not in wrong]


def test_a_phone_need_not_scroll_sideways(guest: Callable) -> None:
    for language in ("en", "zh"):
        page = guest(viewport=PHONE, has_touch=True).open_screen(f"/?lang={language}")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_a_wall_need_not_scroll_at_all(guest: Callable) -> None:
    for size in (DESK, {"width": 3840, "height": 2160}):
        page = guest(viewport=size).open_screen()
        assert page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]") == list(size.values())
        tiles = page.evaluate("[...document.querySelectorAll('.tile')].map((tile) => [tile.id, tile.scrollHeight - tile.clientHeight])")
        assert [tile for tile in tiles if tile[1] > 1] == []


def test_the_page_opens_within_a_second(guest: Callable) -> None:
    """The best of a new visitor's visits, three to fifteen: what else this machine does meanwhile (the other half of the tests) is not
    the page's, and lasts for longer than three of them."""
    took: list[list[float]] = []
    while len(took) < 3 or (len(took) < 15 and min(with_figures for _, with_figures in took) >= WITH_FIGURES_MS):
        page = guest(viewport=DESK).open()
        page.wait_for_selector("#wall[data-cut]")
        took.append(page.evaluate("[performance.getEntriesByType('navigation')[0].loadEventEnd, performance.now()]"))
    loaded, with_figures = (min(times) for times in zip(*took, strict=True))
    print(f"loaded after {loaded:.0f} ms, with figures after {with_figures:.0f} ms, the best of {len(took)}")
    assert loaded < 1000
    assert with_figures < WITH_FIGURES_MS


def test_the_theme_is_chosen_by_keyboard_and_kept(guest: Callable) -> None:
    page = guest(color_scheme="light").open()
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to the content")
    page.locator("#theme").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.locator("#theme")).to_have_text("Dark")


def test_numbers_and_words_are_the_visitors(guest: Callable) -> None:
    page = guest(locale="zh-CN").open_screen()
    expect(page.locator("#title-gmv")).to_have_text("大促累计成交")
    assert page.locator("[data-paid]").inner_text().startswith("¥")
    expect(page.locator("#connection")).to_have_text("实时")


def test_before_the_first_sale_the_screen_says_so(guest: Callable, promotion: Promotion) -> None:
    for table in promotion.root.glob("*/*"):
        table.rename(table.with_name(f"_{table.name}"))  # no lake there yet
    page = guest().open()
    expect(page.locator("#tile-gmv")).to_contain_text("No sale yet")
    expect(page.locator("#tile-alerts")).to_contain_text("No alert. All is calm.")
    for table in promotion.root.glob("*/_*"):
        table.rename(table.with_name(table.name.removeprefix("_")))
    promotion.batch(busy([30]), at(30.5))
    expect(page.locator("#tile-gmv [data-counter]")).to_be_visible()
