"""What every channel is: its settings, and one method that delivers a message or says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import requests
from pydantic import BaseModel, ConfigDict, Field

from promolake.alerts.message import Message, Refused, TryLater

TIMEOUT_S = (3.0, 5.0)  # to connect, and between two bytes of the answer
MAX_ANSWER = 65_536


class Channel(BaseModel):
    """A way to reach people. `name` tells channels of one kind apart."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    budget: ClassVar[int] = 0
    """Messages a minute the service takes, 0: no limit known."""

    name: str
    per_minute: int | None = Field(None, ge=0, description="Messages a minute at most, 0: no limit. Above it they become one digest.")

    @property
    def limit(self) -> int:
        return self.budget if self.per_minute is None else self.per_minute

    def at_home(self, home: Path) -> Channel:
        """The channel with its files under the home, where they are given without a root."""
        return self

    def send(self, message: Message) -> None:
        """Returns when the other end has taken the message. Raises Refused or TryLater."""
        raise NotImplementedError


def post(url: str, **options: Any) -> requests.Response:
    """A POST that is answered with 2xx. Redirects are not followed; no error names more than the host, as secrets stand in URLs."""
    host = urlsplit(url).netloc.rpartition("@")[2]
    try:
        with requests.post(url, timeout=TIMEOUT_S, allow_redirects=False, stream=True, **options) as answer:
            answer._content = answer.raw.read(MAX_ANSWER, decode_content=True)
    except (requests.RequestException, OSError) as error:
        raise TryLater(f"{host}: {type(error).__name__}") from None
    except Exception as error:  # urllib3's own, from reading the answer
        raise TryLater(f"{host}: {type(error).__name__}") from None
    if answer.status_code == 429 or answer.status_code >= 500:
        wait = answer.headers.get("Retry-After", "")
        raise TryLater(f"{host} answered {answer.status_code}", float(wait) if wait.isdigit() else None)
    if not 200 <= answer.status_code < 300:
        raise Refused(f"{host} answered {answer.status_code}")
    return answer


def checked(answer: requests.Response, try_later: frozenset[int]) -> dict[str, Any]:
    """The JSON of services that refuse with HTTP 200 and `errcode` other than 0; those of `try_later` are told apart."""
    host = urlsplit(answer.url).netloc
    try:
        body = answer.json()
        code = int(body["errcode"])
    except (ValueError, KeyError, TypeError):
        raise TryLater(f"{host} gave no errcode") from None
    if code in try_later:
        raise TryLater(f"{host} answered errcode {code}", 60)
    if code:
        raise Refused(f"{host} answered errcode {code}")
    return body
