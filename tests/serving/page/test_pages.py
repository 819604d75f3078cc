"""Pages and what they load: in the visitor's language and theme, compressed, and kept as long as they stay the same."""

from __future__ import annotations

import re
from pathlib import Path

from starlette.testclient import TestClient

from promolake.serving.page import rendering
from promolake.serving.page.assets import PLOTLY, address

STATIC = Path(rendering.__file__).parent / "static"


def test_every_text_is_there_in_every_language_with_the_same_values() -> None:
    english, chinese = rendering.words("en"), rendering.words("zh")
    assert english.keys() == chinese.keys()
    values = {key: [set(re.findall(r"\{(\w+)\}", text)) for text in (english[key], chinese[key])] for key in english}
    assert {key: sets for key, sets in values.items() if sets[0] != sets[1]} == {}


def test_every_text_a_script_asks_for_is_there() -> None:
    known = rendering.words("en")
    for script in STATIC.glob("*.js"):
        asked = set(re.findall(r'(?:say\(|words\.)"?(\w+)', script.read_text()))
        assert asked - known.keys() - {"word", "more"} == set(), script.name


def test_the_language_is_chosen_by_the_browser_then_by_the_visitor(client: TestClient) -> None:
    assert 'lang="en"' in client.get("/").text
    assert 'lang="zh-CN"' in client.get("/", headers={"Accept-Language": "zh-CN,zh;q=0.9"}).text
    chosen = client.get("/", params={"lang": "zh"})
    assert "大促累计成交" in chosen.text
    assert "lang=zh" in chosen.headers["set-cookie"]
    assert 'lang="zh-CN"' in client.get("/").text  # the cookie
    assert 'lang="zh-CN"' in client.get("/", params={"lang": "xx"}).text


def test_the_theme_chosen_before_is_the_page_s(client: TestClient) -> None:
    assert 'data-theme="auto"' in client.get("/").text
    assert 'data-theme="dark"' in client.get("/", headers={"Cookie": "theme=dark"}).text
    assert 'data-theme="auto"' in client.get("/", headers={"Cookie": 'theme="><script>'}).text


def test_no_page_has_a_script_or_style_of_its_own(client: TestClient) -> None:
    for path in ("/", "/sql", "/login"):
        page = client.get(path).text
        assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=|javascript:", page) == [], path


def test_nothing_is_loaded_from_elsewhere(client: TestClient) -> None:
    for path in ("/", "/sql", "/login"):
        assert re.findall(r"""(?:src|href|action)=["'](?!/|\?|#)[^"']*""", client.get(path).text) == [], path


def test_a_file_is_kept_for_ever_under_the_address_of_its_content(client: TestClient) -> None:
    answer = client.get(address("base.css"))
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.text == (STATIC / "base.css").read_text()
    again = client.get("/static/base.css", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    plain = client.get("/static/base.css", headers={"Accept-Encoding": "identity"})
    assert ("Content-Encoding" in plain.headers, plain.text, plain.headers["Cache-Control"]) == (False, answer.text, "no-cache")


def test_plotly_comes_out_of_its_wheel(client: TestClient) -> None:
    answer = client.get(f"/static/{PLOTLY}")
    assert answer.headers["Content-Type"].startswith("text/javascript")
    assert int(answer.headers["Content-Length"]) < 1_600_000
    assert "plotly.js v" in answer.text[:200]


def test_only_the_files_of_the_page_are_sent(client: TestClient) -> None:
    for name in ("..%2Faccess.py", "nothing.js", "%2Fetc%2Fpasswd", ""):
        assert client.get(f"/static/{name}").status_code == 404, name
