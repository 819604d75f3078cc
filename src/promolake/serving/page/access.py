"""Who may see and do what: nobody but this machine while there is no token; with tokens, whoever shows one, as its role allows.

Tokens are 256 bits of chance, kept as scrypt hashes in one file of the home. A browser changes its token for a session cookie.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import os
import re
import secrets
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from promolake.core.errors import SettingsError
from promolake.serving.page.part import Role
from promolake.serving.page.tries import TooManyTries, Tries

COOKIE = "promolake_session"
SESSION_SECONDS = 12 * 3600
_RANK = {Role.ANYONE: 0, Role.VIEWER: 1, Role.OPERATOR: 2}
_SAFE = {"GET", "HEAD", "OPTIONS"}


@dataclass(frozen=True)
class Key:
    """What is kept of a token: its role and, in hex, the scrypt hash of its secret with the salt."""

    role: str
    salt: str
    hash: str


class Keyring:
    """The tokens of a home, in one file that only its owner can read. Changes by another process are seen at once."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen: tuple[int, int] | None = None
        self._keys: dict[str, Key] = {}

    @property
    def keys(self) -> dict[str, Key]:
        """By name. Raises SettingsError when the file cannot be read."""
        try:
            status = self._file.stat()
            if (stamp := (status.st_mtime_ns, status.st_ino)) != self._seen:
                self._keys = {name: Key(**key) for name, key in json.loads(self._file.read_text()).items()}
                self._seen = stamp
        except FileNotFoundError:
            self._keys, self._seen = {}, None
        except (OSError, ValueError, TypeError) as error:
            what = f"The tokens in {self._file} cannot be read: {error}."
            raise SettingsError(what, "Remove the file and add the tokens anew.") from None
        return self._keys

    def add(self, name: str, role: Role) -> str:
        """Makes a token and returns it; it is not kept. Raises SettingsError for a name that is taken or not plain."""
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", name):
            raise SettingsError(f"{name!r} is no name for a token.", "Use up to 40 letters, digits, - and _.")
        if name in self.keys:
            raise SettingsError(f"There is a token {name} already.", f"Remove it first: promolake serve token remove {name}")
        secret, salt = secrets.token_urlsafe(32), secrets.token_bytes(16)
        self._write(self.keys | {name: Key(role.value, salt.hex(), _hashed(secret, salt).hex())})
        return f"{name}.{secret}"

    def remove(self, name: str) -> None:
        """Raises SettingsError when there is no such token."""
        if name not in self.keys:
            raise SettingsError(f"There is no token {name}.", "See promolake serve token list.")
        self._write({other: key for other, key in self.keys.items() if other != name})

    def opened_by(self, token: str) -> str | None:
        """The name of the token when it is one of these; takes some 50 ms, on purpose."""
        name, _, secret = token.partition(".")
        key = self.keys.get(name)
        salt = bytes.fromhex(key.salt) if key else b"no such name"
        return name if hmac.compare_digest(_hashed(secret, salt), bytes.fromhex(key.hash) if key else b"") else None

    def _write(self, keys: dict[str, Key]) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._file.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as text:
            json.dump({name: asdict(key) for name, key in keys.items()}, text, indent=1)
        fresh.replace(self._file)


class Access:
    """Decides about each call. Without any token everybody on this machine is an operator, and nobody else gets an answer."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._known: dict[str, tuple[Key, str, float]] = {}  # sha256 of a session id or token -> key, name, end
        self._tries = Tries()

    @property
    def is_open(self) -> bool:
        """Whether there is no token; tokens that cannot be read are tokens."""
        try:
            return not self._keyring.keys
        except SettingsError:
            return False

    async def check(self, call: HTTPConnection, needed: Role) -> None:
        """Raises HTTPException 401 or 403 when the call may not go on."""
        if self.is_open and not is_local(_host_name(call)):
            raise HTTPException(403, "Without a token this page answers on this machine only, by the name 127.0.0.1 or localhost.")
        if call.scope["method"] not in _SAFE and not _same_origin(call):
            raise HTTPException(403, "The request comes from another site.")
        has = await self.role(call)
        if _RANK[has] < _RANK[needed]:
            raise HTTPException(401 if has is Role.ANYONE else 403, "Show a token." if has is Role.ANYONE else "This takes an operator.")

    async def role(self, call: HTTPConnection) -> Role:
        if self.is_open:
            return Role.OPERATOR
        scheme, _, token = call.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._recalled(token) or (await self.log_in(call, token) and self._recalled(token)) or Role.ANYONE
        return self._recalled(call.cookies.get(COOKIE, "")) or Role.ANYONE

    async def log_in(self, call: HTTPConnection, token: str) -> str | None:
        """A session id for a token that is right. Raises HTTPException 429 after too many wrong ones from the same address."""
        try:
            name = await self._tries.of(call.client.host if call.client else "", lambda: self._keyring.opened_by(token))
        except TooManyTries:
            raise HTTPException(429, "Too many wrong tokens from this address; wait a minute.") from None
        if name is None:
            return None
        now = time.monotonic()
        self._known = {mark: known for mark, known in self._known.items() if known[2] > now}
        session = secrets.token_urlsafe(32)
        for secret in (session, token):
            self._known[_mark(secret)] = (self._keyring.keys[name], name, now + SESSION_SECONDS)
        return session

    def log_out(self, call: HTTPConnection) -> None:
        self._known.pop(_mark(call.cookies.get(COOKIE, "")), None)

    def _recalled(self, secret: str) -> Role | None:
        """The role of a session, or of a token seen before, as long as the token itself is there."""
        key, name, end = self._known.get(_mark(secret), (None, "", 0.0))
        return Role(key.role) if key and end > time.monotonic() and self._keyring.keys.get(name) == key else None


class Guard:
    """An ASGI application behind a door."""

    def __init__(self, app: ASGIApp, role: Role, access: Access) -> None:
        self._app = app
        self.role = role
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._access.check(HTTPConnection(scope), self.role)
        await self._app(scope, receive, send)


def is_local(host: str) -> bool:
    """Whether the name or address means this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _host_name(call: HTTPConnection) -> str:
    try:
        return urlsplit(f"//{call.headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def _same_origin(call: HTTPConnection) -> bool:
    """A browser names the site a request comes from; a program names none."""
    origin = call.headers.get("origin")
    if origin is None:
        return call.headers.get("sec-fetch-site", "none") in ("none", "same-origin")
    return origin.partition("://")[2] == call.headers.get("host")


def _hashed(secret: str, salt: bytes) -> bytes:
    return hashlib.scrypt(secret.encode(), salt=salt, n=2**14, r=8, p=1)


def _mark(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
