"""Every error the page may show is said in the visitor's language, and nobody has to keep two lists."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

import promolake
from promolake.core.errors import SettingsError
from promolake.serving.page.access import Keyring
from promolake.serving.page.part import Role
from promolake.serving.page.sentences import known, said
from promolake.serving.page.tries import FAILURES_A_MINUTE
from promotion import Promotion, at, busy_minute

SOURCE = Path(promolake.__file__).parent
SHOWN = [*sorted((SOURCE / "serving" / "page").glob("*.py")), SOURCE / "serving" / "sql.py"]  # whose errors the page shows
FUNCTIONS = {SOURCE / "cli" / "silencing.py": ("silenced", "unsilenced"), SOURCE / "alerts" / "duration.py": ("duration",)}
ON_THE_COMMAND_LINE = ("add", "remove")  # functions whose errors no page shows
CHINESE = {"Accept-Language": "zh-CN"}


def raised(tree: ast.AST) -> Iterator[str]:
    """Every sentence an error is made of, with `7` for what differs."""
    texts = {node.targets[0].id: node.value for node in ast.walk(tree) if isinstance(node, ast.Assign) and _is_name(node.targets[0])}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _is_name(node.func) and node.func.id in ("SettingsError", "HTTPException"):
            for argument in node.args:
                for one in (argument.body, argument.orelse) if isinstance(argument, ast.IfExp) else (argument,):
                    yield from _text(texts.get(one.id) if isinstance(one, ast.Name) else one)


def _is_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Name)


def _text(node: ast.AST | None) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value:
        yield node.value
    if isinstance(node, ast.JoinedStr):
        yield "".join(part.value if isinstance(part, ast.Constant) else "7" for part in node.values)


def sentences() -> set[str]:
    found = set()
    for file in (*SHOWN, *FUNCTIONS):
        tree = ast.parse(file.read_text())
        for node in list(ast.walk(tree)):
            if isinstance(node, ast.FunctionDef) and node.name in ON_THE_COMMAND_LINE and file.name == "access.py":
                node.body = []
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name in FUNCTIONS.get(file, ())]
        for part in functions or [tree]:
            found.update(raised(part))
    return found - {"7."}  # whatever a parser says: test_a_silence_is_refused_in_the_visitors_language


def test_every_error_of_the_page_has_its_chinese() -> None:
    found = sentences()
    assert {"Show a token.", "The query was ended after 7 s.", "Write one SELECT or WITH ... SELECT.", "7 is no time."} <= found
    assert [sentence for sentence in found if said(HTTPException(400, sentence), "zh") == sentence] == []


def test_no_translation_is_left_of_a_sentence_nobody_says_any_more() -> None:
    elsewhere = {  # of Starlette, of a method, and of what silences are made of
        "Not Found", "Method Not Allowed", "There are 7.", "7 is no duration such as 30s, 5m or 1h30m.",
        'Value error, 7 is no matcher such as severity="page" or alertname=~"Gmv.*".', "Value error, 7 is no regular expression: 7.",
    }  # fmt: skip
    all_of_them = sentences() | elsewhere
    assert [pattern.pattern for pattern, _ in known("zh") if not any(map(pattern.fullmatch, all_of_them))] == []


def test_what_differs_is_carried_over_and_what_nobody_knows_stays() -> None:
    error = SettingsError("There is no table gold.{x}.", "There are gold.a, gold.b.")
    assert said(error, "en") == "There is no table gold.{x}. There are gold.a, gold.b."
    assert said(error, "zh") == "没有表 gold.{x}。现有：gold.a, gold.b。"
    assert said(SettingsError("Nobody has seen this.", "Show a token."), "zh") == "Nobody has seen this.请出示令牌。"


# --- as the page says them -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        ("DROP TABLE x", "每次只接受一条查询，且不能修改任何内容。请写一条 SELECT 或 WITH ... SELECT。"),
        ("SELECT * FROM gold.nothing", "没有表 gold.nothing。现有：gold.attributed_orders, "),
        ("SELECT * FROM bronze.shop_orders", "bronze.shop_orders 含有未脱敏的个人数据"),
        ("SELECT nothing", "无法回答该查询：Binder Error: "),
        ("SELECT 1 FROM (", "无法解析该 SQL：Parser Error: "),
    ],
)
def test_the_sql_box_refuses_in_the_visitors_language(client: TestClient, promotion: Promotion, sql: str, sentence: str) -> None:
    promotion.batch(busy_minute(0), at(0.5))
    assert client.post("/api/sql", data={"sql": sql}, headers=CHINESE).json()["error"].startswith(sentence)
    assert client.post("/api/sql", data={"sql": sql}).json()["error"].isascii()
    page = client.post("/api/sql.csv", data={"sql": sql}, headers={"Accept": "text/html", "Cookie": "lang=zh"})  # the switch, by its cookie
    assert (page.status_code, sentence in page.text) == (400, True)


def test_the_door_refuses_in_the_visitors_language(client: TestClient, keyring: Keyring) -> None:
    viewer = keyring.add("wall", Role.VIEWER)
    page = {"Accept": "text/html"} | CHINESE
    assert client.get("/api/screen", headers=CHINESE).json() == {"error": "请出示令牌。"}
    seen = client.post("/operations/silences", headers={"Authorization": f"Bearer {viewer}"} | CHINESE)
    assert (seen.status_code, seen.json()) == (403, {"error": "此操作需要 operator 令牌。"})
    assert "该请求来自其他网站。" in client.post("/login", headers={"Origin": "http://evil.example"} | page).text
    wrong = [client.post("/login", data={"token": "wall.x"}, headers=page) for _ in range(FAILURES_A_MINUTE + 1)]
    assert [("令牌不正确。" in one.text, "此地址多次使用错误的令牌，请一分钟后再试。" in one.text) for one in wrong] == [
        *[(True, False)] * FAILURES_A_MINUTE, (False, True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("matchers", "length", "sentence"),
    [
        ("", "1h", "静默至少需要一个匹配条件。"),
        ("nonsense", "1h", "不是匹配条件"),
        ('a=~"("', "1h", "不是正则表达式"),
        ("a=b", "soon", "&#39;soon&#39; 不是时长"),
    ],
)
def test_a_silence_is_refused_in_the_visitors_language(client: TestClient, matchers: str, length: str, sentence: str) -> None:
    answer = client.post("/operations/silences", data={"matchers": matchers, "length": length}, headers=CHINESE)
    assert (answer.status_code, sentence in answer.text) == (400, True)


def test_a_time_that_is_none_or_too_early_is_said_in_the_visitors_language(client: TestClient) -> None:
    answer = client.get("/api/screen", params={"at": "noon"}, headers=CHINESE)
    assert answer.json() == {"error": "'noon' 不是有效时间。请写成 2026-11-11T00:00:37Z 的形式。"}
