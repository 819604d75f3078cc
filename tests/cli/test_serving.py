"""`promolake serve`: where it listens, whom it refuses, and its tokens."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from promolake.cli.serving import free_port
from promotion import Promotion, at, busy_minute


@pytest.fixture
def taken() -> socket.socket:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener


@pytest.fixture
def served(home: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[str], str]]]:
    """`served(options)` starts the page of the home; returns the process, once it listens, and its address."""
    started = []

    def serve(*options: str) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-m", "promolake.cli", "--home", str(home), "serve", "--port", "0", *options]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        return started[-1], started[-1].stdout.readline().strip().removeprefix("live page: ")

    yield serve
    for process in started:
        with process:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_end(served: Callable, number: signal.Signals) -> None:
    process, url = served()
    with urllib.request.urlopen(f"{url}api/live", timeout=20) as viewer:  # one who looks on does not hold it up
        assert viewer.readline() == b"event: beat\n"
        process.send_signal(number)
        said, _ = process.communicate(timeout=20)
        assert (process.returncode, said) == (0, "")


def test_a_port_that_is_taken_is_said_so(promolake: Callable, taken: socket.socket) -> None:
    port = taken.getsockname()[1]
    answer = promolake("serve", "--port", str(port))
    assert answer.code == 3
    assert f"The page cannot listen on 127.0.0.1:{port}: Address already in use." in answer.err


def test_an_address_that_is_not_this_machine_s_is_said_so(promolake: Callable) -> None:
    promolake("serve", "token", "add", "wall")
    answer = promolake("serve", "--host", "192.0.2.1", "--port", "0")
    assert answer.code == 3
    assert "The page cannot listen on 192.0.2.1:0" in answer.err


def test_the_demo_takes_another_port_where_the_usual_one_is_taken(taken: socket.socket) -> None:
    port = taken.getsockname()[1]
    assert free_port(port) != port
    assert free_port(0) > 0


def test_other_machines_are_not_let_in_without_a_token(promolake: Callable) -> None:
    answer = promolake("serve", "--host", "0.0.0.0")
    assert answer.code == 2
    assert "Listening on 0.0.0.0, the page would be open to everybody. Make a token first" in answer.err


def test_with_a_token_the_page_asks_for_it(promolake: Callable, served: Callable) -> None:
    token = promolake("serve", "token", "add", "wall").out.strip()
    _, url = served("--host", "0.0.0.0")
    url = url.replace("0.0.0.0", "127.0.0.1")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{url}api/screen", timeout=20)
    request = urllib.request.Request(f"{url}api/screen", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 200


def test_behind_a_proxy_of_this_machine_a_stranger_is_told_from_the_operator(promolake: Callable, served: Callable) -> None:
    token = promolake("serve", "token", "add", "boss", "--role", "operator").out.strip()
    _, url = served()

    def code(token: str, address: str) -> int:
        request = urllib.request.Request(
            f"{url}api/screen", headers={"Authorization": f"Bearer {token}", "X-Forwarded-For": f"10.9.9.9, {address}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    assert [code("boss.guess", "203.0.113.9") for _ in range(11)] == [401] * 10 + [429]
    assert code(token, "203.0.113.9") == 429
    assert code(token, "203.0.113.10") == 200


def test_tokens_are_made_listed_and_taken_back(promolake: Callable) -> None:
    assert promolake("serve", "token", "add", "boss", "--role", "operator").out.startswith("boss.")
    promolake("serve", "token", "add", "wall")
    assert promolake("serve", "token", "list").out == "boss operator\nwall viewer\n"
    promolake("serve", "token", "remove", "boss")
    assert promolake("serve", "token", "list").out == "wall viewer\n"
    assert promolake("serve", "token", "remove", "boss").code == 2
    refused = promolake("serve", "token", "add", "x", "--role", "king")
    assert (refused.code, "There is no role king. Choose viewer or operator." in refused.err) == (2, True)


def test_a_token_taken_back_ends_the_figures_it_opened(promolake: Callable, served: Callable, home: Path) -> None:
    promotion = Promotion(home / "lake")
    promotion.batch(busy_minute(0), at(0.5))
    token = promolake("serve", "token", "add", "wall").out.strip()
    promolake("serve", "token", "add", "other")
    _, url = served()
    request = urllib.request.Request(f"{url}api/live", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=20) as viewer:
        assert any(line.startswith(b'data: {"cut"') for line in viewer)
        promolake("serve", "token", "remove", "wall")
        promotion.batch(busy_minute(1), at(1.5))
        assert b"cut" not in viewer.read()
