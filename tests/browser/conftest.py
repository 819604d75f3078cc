"""The page as it is served, in a real Chromium, over a small lake."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from promotion import Promotion, at, busy

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
REPOSITORY = Path(__file__).parents[2]
PATIENCE_MS = 20_000


class Server:
    """`promolake serve` over a home, in a process of its own; started again, it has the same address."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self) -> None:
        port = self.url.rstrip("/").rpartition(":")[2] or "0"
        command = [sys.executable, "-m", "promolake.cli", "--home", str(self._home), "serve", "--port", port]
        environment = os.environ | {"PROMOLAKE_CONF": str(REPOSITORY / "conf"), "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        self.url = self._process.stdout.readline().strip().removeprefix("live page: ").rstrip("/")
        with urllib.request.urlopen(f"{self.url}/login") as answer:  # the socket listens before the line is printed: this waits
            assert answer.status == 200

    def stop(self) -> int:
        """Ends it and returns its exit code."""
        assert self._process
        assert self._process.stdout
        self._process.terminate()
        code = self._process.wait(20)
        self._process.stdout.close()
        return code

    def kill(self) -> None:
        assert self._process
        assert self._process.stdout
        self._process.kill()
        self._process.wait(20)
        self._process.stdout.close()


class Guest:
    """Opens pages and keeps what went wrong in them: console errors, refused by the policy, asked of another host."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self._context = context
        self._url = url
        self.wrong: list[str] = []

    def open(self, path: str = "/") -> Page:
        page = self._context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda message: message.type == "error" and self.wrong.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("request", lambda request: request.url.startswith((self._url, "blob:", "data:")) or self.wrong.append(request.url))
        page.goto(self._url + path)
        return page

    def open_screen(self, path: str = "/") -> Page:
        """The screen with its first figures and its charts."""
        page = self.open(path)
        page.wait_for_selector("#wall[data-cut]")
        page.wait_for_selector(".minutes .js-plotly-plot")
        return page


@pytest.fixture(scope="module")  # while it is open, playwright runs an event loop in this thread: other modules have their own
def chromium() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM} (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


def half_an_hour(home: Path) -> Promotion:
    """Half an hour of sales."""
    promotion = Promotion(home / "lake")
    promotion.batch(busy(range(30)), at(29.5))
    promotion.alert("GmvDrop", "GMV in CNY fell to 13200 a minute", 28)
    return promotion


@contextmanager
def served(promotion: Promotion) -> Iterator[Server]:
    server = Server(promotion.root.parent)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Promotion:
    """Half an hour of sales that no test changes."""
    return half_an_hour(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def standing_server(standing: Promotion) -> Iterator[Server]:
    with served(standing) as server:
        yield server


@pytest.fixture
def promotion(tmp_path: Path) -> Promotion:
    """Half an hour of sales, for a test that goes on from there."""
    return half_an_hour(tmp_path / "home")


@pytest.fixture
def server(promotion: Promotion) -> Iterator[Server]:
    with served(promotion) as server:
        yield server


@pytest.fixture
def guest(chromium: Browser, request: pytest.FixtureRequest) -> Iterator[Callable[..., Guest]]:
    """`guest(viewport=..., color_scheme=...)`: a visitor with a browser of their own; nothing may go wrong in any of their pages. They come
    to the test's own promotion, if it asks for that, or to the standing one."""
    is_own = not {"promotion", "server"}.isdisjoint(request.fixturenames)
    server: Server = request.getfixturevalue("server" if is_own else "standing_server")
    contexts, guests = [], []

    def arrive(**options: object) -> Guest:
        contexts.append(chromium.new_context(**options))
        guests.append(Guest(contexts[-1], server.url))
        return guests[-1]

    yield arrive
    for context in contexts:
        context.close()
    assert [wrong for one in guests for wrong in one.wrong] == []
