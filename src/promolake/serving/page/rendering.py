"""Pages from templates, in the visitor's language and theme."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from promolake.serving.page import assets

LANGUAGES = {"en": "English", "zh": "中文"}
THEMES = ("auto", "light", "dark")
_YEAR = 365 * 24 * 3600
_templates = Environment(
    loader=PackageLoader("promolake.serving.page"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_templates.globals["asset"] = assets.address


@cache
def words(language: str) -> dict[str, str]:
    """Every text of the page in a language: the files words/*.en.json, or *.zh.json, put together."""
    found: dict[str, str] = {}
    for file in sorted((resources.files("promolake.serving.page") / "words").iterdir(), key=lambda file: file.name):
        if file.name.endswith(f".{language}.json"):
            found |= json.loads(file.read_text(encoding="utf-8"))
    return found


def language(request: Request) -> str:
    """The one asked for (`?lang=`), chosen before (a cookie), or preferred by the browser."""
    preferred = "zh" if request.headers.get("accept-language", "").lower().startswith("zh") else "en"
    for wanted in (request.query_params.get("lang"), request.cookies.get("lang")):
        if wanted in LANGUAGES:
            return wanted
    return preferred


def render(request: Request, template: str, status: int = 200, **context: Any) -> Response:
    """The page of a template that extends base.html; `context` are its variables, beside `words` (the texts), `lang` and `theme`."""
    lang, theme = language(request), request.cookies.get("theme")
    frame = {
        "lang": lang,
        "languages": LANGUAGES,
        "theme": theme if theme in THEMES else "auto",
        "words": words(lang),
        "nav": request.app.state.nav,
        "here": request.url.path,
        "is_open": request.app.state.access.is_open,
    }
    response = HTMLResponse(_templates.get_template(template).render(frame | context), status)
    if request.query_params.get("lang") in LANGUAGES:
        response.set_cookie("lang", lang, max_age=_YEAR, samesite="strict", httponly=True)
    return response
