"""The page over a small lake, asked without a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from promolake import settings as configuration
from promolake.cli.page import assembled
from promolake.serving.page.access import Access, Keyring
from promotion import Promotion
from serving.page.world import empty, world  # noqa: F401  fixtures

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROMOLAKE_CONF", str(REPOSITORY / "conf"))
    return tmp_path / "home"


@pytest.fixture
def promotion(home: Path) -> Promotion:
    return Promotion(home / "lake")


@pytest.fixture
def keyring(home: Path) -> Keyring:
    return Keyring(home / "tokens.json")


@pytest.fixture
def client(home: Path, promotion: Promotion, keyring: Keyring) -> Iterator[TestClient]:
    """A program on this machine. Tokens added to `keyring` close the page to it."""
    with visitor(home, keyring)() as opened:
        yield opened


def visitor(home: Path, keyring: Keyring) -> Callable[[], TestClient]:
    app = assembled(configuration.load(home), Access(keyring))
    return lambda: TestClient(app, base_url="http://localhost:8080", follow_redirects=False)
