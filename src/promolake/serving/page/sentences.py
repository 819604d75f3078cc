"""What an error says, in the visitor's language.

Errors are written in English where they are raised, and nowhere else. Here their sentences are recognised by what they have in common, as
sentences.zh.json has it, and what differs is carried over.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import resources

from starlette.exceptions import HTTPException

from promolake.core.errors import PromolakeError

FILES = {"zh": "sentences.zh.json"}


def said(error: Exception, language: str) -> str:
    """The error's sentences; one that nobody has translated stays as it is."""
    sentences = (error.what, error.remedy) if isinstance(error, PromolakeError) else (_detail(error),)
    return ("" if language in FILES else " ").join(filter(None, (_translated(sentence, language) for sentence in sentences)))


def _detail(error: Exception) -> str:
    return error.detail if isinstance(error, HTTPException) else str(error)


def _translated(sentence: str, language: str) -> str:
    for pattern, translation in known(language) if language in FILES else ():
        if found := pattern.fullmatch(sentence):
            return translation.format(**found.groupdict())
    return sentence


@cache
def known(language: str) -> list[tuple[re.Pattern[str], str]]:
    """The sentences of a language: how each is recognised, and how it is said."""
    text = (resources.files("promolake.serving.page") / FILES[language]).read_text(encoding="utf-8")
    return [(_pattern(sentence), translation) for sentence, translation in json.loads(text).items()]


def _pattern(sentence: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", sentence)
    named = [f"(?P<{part}>.+)" if n % 2 else re.escape(part) for n, part in enumerate(parts)]
    return re.compile("".join(named), re.DOTALL)
