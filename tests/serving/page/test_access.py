"""Who may see and do what: open to this machine alone without a token, and with tokens to whoever shows one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from promolake.core.errors import SettingsError
from promolake.serving.page.access import Access, Guard, Keyring, is_local
from promolake.serving.page.application import HEADERS, application
from promolake.serving.page.part import Part, Role
from promolake.serving.page.tries import FAILURES_A_MINUTE

OPEN_TO_ALL = {("/static/{name}", "GET"), ("/login", "GET"), ("/login", "POST"), ("/logout", "POST")}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def calls(app: Starlette) -> list[tuple[str, str, Role]]:
    """Every route of the application: its path, one of its methods, and the role it asks for."""
    assert all(isinstance(route, Route) and isinstance(route.app, Guard) for route in app.routes)
    return [(route.path, method, route.app.role) for route in app.routes for method in sorted(route.methods - {"HEAD"})]


@pytest.fixture
def operating(client: TestClient, keyring: Keyring) -> Starlette:
    """The application with a route for operators besides."""

    async def silence(_: object) -> PlainTextResponse:
        return PlainTextResponse("done")

    return application([Part(Role.OPERATOR, [Route("/silence", silence, methods=["POST"])])], Access(keyring))


# --- every route ---------------------------------------------------------------------------------------------------------------


def test_every_route_of_the_page_stands_behind_a_door(client: TestClient) -> None:
    assert {(path, method) for path, method, role in calls(client.app) if role is Role.ANYONE} == OPEN_TO_ALL


def test_no_route_answers_without_a_token_once_there_is_one(client: TestClient, keyring: Keyring) -> None:
    keyring.add("wall", Role.VIEWER)
    for path, method, role in calls(client.app):
        answer = client.request(method, path.replace("{", "").replace("}", ""))
        assert (answer.status_code == 401) == (role is not Role.ANYONE or (method == "POST" and path == "/login")), (path, method)


def test_no_route_answers_a_wrong_token(client: TestClient, keyring: Keyring) -> None:
    token = keyring.add("wall", Role.VIEWER)
    for path, method, role in calls(client.app):
        if role is not Role.ANYONE:
            assert client.request(method, path, headers=bearer(token[:-1])).status_code in (401, 429), (path, method)


def test_a_viewer_reaches_no_route_of_an_operator(client: TestClient, operating: Starlette, keyring: Keyring) -> None:
    viewer, operator = keyring.add("wall", Role.VIEWER), keyring.add("boss", Role.OPERATOR)
    with TestClient(operating, base_url="http://localhost") as other:
        assert other.post("/silence", headers=bearer(viewer)).status_code == 403
        assert other.post("/silence", headers=bearer(operator)).text == "done"
    for path, method, role in calls(client.app):
        answer = client.request(method, path, headers=bearer(viewer)) if role is Role.OPERATOR else None
        assert answer is None or answer.status_code == 403, (path, method)


def test_every_answer_has_the_strict_headers(client: TestClient) -> None:
    for path in ("/", "/api/screen", "/static/base.js", "/login", "/nothing"):
        assert {name: client.get(path).headers.get(name) for name in HEADERS} == HEADERS, path
    assert client.get("/api/screen").headers["Cache-Control"] == "no-store"
    policy = HEADERS["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


# --- without a token -----------------------------------------------------------------------------------------------------------


def test_without_a_token_this_machine_is_an_operator(operating: Starlette) -> None:
    with TestClient(operating, base_url="http://127.0.0.1:8080") as local:
        assert local.post("/silence").text == "done"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "10.1.2.3", "127.0.0.1.evil.example", "[::1", ""])
def test_without_a_token_another_name_gets_no_answer(client: TestClient, host: str) -> None:
    """A site that lets its own name point to 127.0.0.1 (DNS rebinding) could otherwise read the page."""
    answer = client.get("/api/screen", headers={"Host": host})
    assert answer.status_code == 403
    assert "this machine only" in answer.json()["error"]


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1:9", "[::1]:8080"])
def test_this_machine_has_several_names(client: TestClient, name: str) -> None:
    assert client.get("/api/screen", headers={"Host": name}).status_code == 200


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}])
def test_another_site_cannot_make_a_browser_ask(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.post("/api/sql", data={"sql": "SELECT 1"}, headers=headers)
    assert (answer.status_code, answer.json()) == (403, {"error": "The request comes from another site."})
    own = {"Origin": "http://localhost:8080", "Sec-Fetch-Site": "same-origin"}
    assert client.post("/api/sql", data={"sql": "SELECT 1"}, headers=own).json()["rows"] == [["1"]]


def test_only_loopback_is_local() -> None:
    assert [is_local(host) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost")] == [True] * 4
    assert [is_local(host) for host in ("0.0.0.0", "::", "192.168.1.5", "example.org", "")] == [False] * 5


# --- with tokens ---------------------------------------------------------------------------------------------------------------


def test_a_token_becomes_a_session_that_scripts_cannot_read(client: TestClient, keyring: Keyring) -> None:
    token = keyring.add("wall", Role.VIEWER)
    answer = client.post("/login", data={"token": token})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert token.partition(".")[2] not in cookie
    assert client.get("/api/screen").status_code == 200
    client.post("/logout")
    assert client.get("/api/screen").status_code == 401


def test_a_token_taken_back_ends_its_sessions(client: TestClient, keyring: Keyring) -> None:
    client.post("/login", data={"token": keyring.add("wall", Role.VIEWER)})
    keyring.add("other", Role.VIEWER)
    assert client.get("/api/screen").status_code == 200
    keyring.remove("wall")
    assert client.get("/api/screen").status_code == 401
    keyring.add("wall", Role.OPERATOR)  # the same name is another token
    assert client.get("/api/screen").status_code == 401


def test_a_browser_is_shown_the_door_and_a_program_told_so(client: TestClient, keyring: Keyring) -> None:
    keyring.add("wall", Role.VIEWER)
    page = client.get("/", headers={"Accept": "text/html"})
    assert page.status_code == 401
    assert 'action="/login"' in page.text
    told = client.get("/", headers={"Accept": "application/json"})
    assert (told.json(), told.headers["WWW-Authenticate"]) == ({"error": "Show a token."}, "Bearer")
    assert 'role="alert"' in client.post("/login", data={"token": "wall.wrong"}).text


def test_whoever_guesses_is_not_heard_for_a_minute_and_everybody_else_is(client: TestClient, keyring: Keyring) -> None:
    token = keyring.add("wall", Role.VIEWER)

    def from_(address: str) -> TestClient:
        return TestClient(client.app, base_url="http://localhost", client=(address, 1), follow_redirects=False)

    stranger = from_("203.0.113.9")
    codes = [stranger.post("/login", data={"token": "wall.guess"}).status_code for _ in range(FAILURES_A_MINUTE + 1)]
    assert codes == [401] * FAILURES_A_MINUTE + [429]
    assert stranger.post("/login", data={"token": token}).status_code == 429
    assert stranger.get("/api/screen", headers=bearer(token)).status_code == 429
    assert from_("203.0.113.10").post("/login", data={"token": token}).status_code == 303
    assert stranger.get("/api/screen", headers=bearer(token)).status_code == 200  # known by now: nothing is tried


# --- the tokens' file ----------------------------------------------------------------------------------------------------------


def test_only_hashes_are_kept_and_only_the_owner_reads_them(keyring: Keyring, home: Path) -> None:
    secret = keyring.add("wall", Role.VIEWER).partition(".")[2]
    file = home / "tokens.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert secret not in file.read_text()
    assert set(json.loads(file.read_text())["wall"]) == {"role", "salt", "hash"}


def test_a_name_is_given_once_and_plain(keyring: Keyring) -> None:
    keyring.add("wall", Role.VIEWER)
    for name, reason in (("wall", "There is a token wall already."), ("a.b", "'a.b' is no name"), ("", "'' is no name")):
        with pytest.raises(SettingsError, match=reason):
            keyring.add(name, Role.VIEWER)
    with pytest.raises(SettingsError, match="There is no token hall"):
        keyring.remove("hall")


def test_a_broken_file_of_tokens_opens_nothing(client: TestClient, home: Path) -> None:
    (home / "tokens.json").write_text('{"wall": {"role": "viewer"}}')
    assert client.get("/api/screen").status_code == 401
    assert client.get("/", headers={"Accept": "text/html"}).status_code == 401
    assert "cannot be read" in client.post("/login", data={"token": "wall.x"}).json()["error"]
