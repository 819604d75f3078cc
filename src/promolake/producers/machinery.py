"""What the machines of a simulated shop write: access-log lines, application log events, metrics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import NamedTuple, TypeVar

from promolake.producers import clock
from promolake.producers.catalogue import CARDS, CATEGORIES, PRODUCTS, Shopper, Zipf
from promolake.producers.draft import Draft
from promolake.producers.truth import Logged, Request

BOTS = tuple((f"203.0.113.{n}", f"ExampleBot/{n}.0 (+http://bot.example.com)") for n in range(1, 5))
AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "Mozilla/5.0 (Linux; Android 16) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0 Mobile Safari/537.36",
)
ASSETS = (
    "/static/app.js",
    "/static/app.css",
    "/static/app.js.map",
    "/favicon.ico",
    "/fonts/shop.woff",
    "/images/banner.png?v=11",
    "/images/logo.svg",
)
HOSTS = tuple(f"{role}-{n}" for role, size in (("web", 6), ("db", 2), ("cache", 2), ("pay", 2)) for n in range(1, size + 1))
SERVICES = ("cart", "payment", "checkout", "search", "inventory", "frontend")
CALM = (
    "request served in 12 ms",
    "cache refreshed, 1024 entries",
    "stock level read",
    "session renewed",
    "ERROR budget is at 99.9 percent, nothing to do",
)
TROUBLED = ("card refused by the bank", "connection to inventory timed out", "stock is negative", "coupon was used twice")
TRACE = (
    "java.net.SocketTimeoutException: Read timed out\n\tat com.shop.net.Client.read(Client.java:88)\n"
    "\tat com.shop.{service}.Service.call(Service.java:41)\nCaused by: java.io.IOException: Broken pipe\n\t... 12 more"
)
_LEVELS = ((0.82, "INFO"), (0.88, "DEBUG"), (0.95, "WARN"), (0.995, "ERROR"), (1.0, "FATAL"))
_STATUSES = ((0.88, 200), (0.93, 304), (0.945, 302), (0.985, 404), (0.995, 500), (1.0, 503))


T = TypeVar("T")


class _Load(NamedTuple):
    cpu: float
    mem: float
    io: float


class Machinery:
    """Makes the machines' messages; draws only from `random`, so the same draws make the same messages."""

    def __init__(self, random: Random, shoppers: list[Shopper]) -> None:
        self._random = random
        self._shoppers = shoppers
        self._zipf = Zipf(PRODUCTS)
        self._loads = {host: _Load(20 + 50 * random.random(), 30 + 40 * random.random(), 10 + 20 * random.random()) for host in HOSTS}
        self._next_host = 0

    def access(self, event_id: str, at: int) -> Draft:
        random = self._random.random
        is_bot = random() < 0.08
        shopper = self._shoppers[int(random() * len(self._shoppers))]
        ip, agent = self._one(BOTS) if is_bot else (shopper.ip, self._one(AGENTS))
        method, path = self._target()
        status = _drawn(_STATUSES, random())
        size = "-" if status in (302, 304) else str(int(random() * 50_000))
        line = f'{ip} - - [{clock.access_line(at, random() < 0.3)}] "{method} {path} HTTP/1.1" {status} {size}'
        if random() > 0.05:  # the rest is in the common format
            line += f' "{"-" if is_bot else "https://shop.example.com/"}" "{agent}"'
        return Draft("site.access", event_id, ip, line, Request(ip, method, path, status))

    def _target(self) -> tuple[str, str]:
        kind = self._random.random()
        product = f"p{self._zipf.draw(self._random) + 1}"
        if kind < 0.30:
            return "GET", self._one(ASSETS)
        if kind < 0.40:
            return "GET", f"/images/{product}.jpg?w=400"
        if kind < 0.70:
            return "GET", f"/product/{product}?from=list.png"
        if kind < 0.85:
            return "GET", f"/search?q={self._one(CATEGORIES)}"
        if kind < 0.93:
            return "GET", "/"
        return ("POST", "/cart") if kind < 0.99 else ("HEAD", "/")

    def metric(self, event_id: str, at: int) -> Draft:
        host = HOSTS[self._next_host]
        self._next_host = (self._next_host + 1) % len(HOSTS)
        load = _Load(*(min(max(value + (self._random.random() - 0.5) * 8, 0.5), 99.5) for value in self._loads[host]))
        self._loads[host] = load
        io = None if host.startswith("cache") else round(load.io, 2)
        payload = {"event_id": event_id, "event_time": at, "host": host, "cpu": round(load.cpu, 3), "mem": round(load.mem, 3), "io": io}
        return Draft("machine.metrics", event_id, host, payload)

    def log(self, event_id: str, at: int) -> Draft:
        service, level = self._one(SERVICES), _drawn(_LEVELS, self._random.random())
        severe = level in ("ERROR", "FATAL")
        message = self._with_personal_data(self._one(TROUBLED if severe else CALM))
        trace = TRACE.format(service=service) if severe and self._random.random() < 0.6 else ""
        write = (_log4j, _logback, _json)[int(self._random.random() * 3)]
        return Draft("app.logs", event_id, service, write(at, level, service, message, trace), Logged(level))

    def _with_personal_data(self, message: str) -> str:
        """Some programmers log what they should not: masking must find it."""
        chance = self._random.random()
        if chance > 0.05:
            return message
        receiver = self._one(self._shoppers).receiver
        return f"{message} for " + (receiver["phone"] if chance < 0.02 else receiver["email"] if chance < 0.04 else self._one(CARDS))

    def _one(self, several: Sequence[T]) -> T:
        return several[int(self._random.random() * len(several))]


def _drawn(table: tuple[tuple[float, T], ...], chance: float) -> T:
    return next(value for below, value in table if chance < below)


def _log4j(at: int, level: str, service: str, message: str, trace: str) -> str:
    return f"[{clock.log_line(at, ',')}] {level} {message} (com.shop.{service}.Service)" + (f"\n{trace}" if trace else "")


def _logback(at: int, level: str, service: str, message: str, trace: str) -> str:
    return f"{clock.log_line(at, '.')} [http-7] {level:5} com.shop.{service}.Service - {message}" + (f"\n{trace}" if trace else "")


def _json(at: int, level: str, service: str, message: str, trace: str) -> str:
    event = {
        "timestamp": clock.iso_utc(at),
        "level": level.lower(),
        "service": service,
        "logger": f"com.shop.{service}.Service",
        "message": message,
    }
    return json.dumps(event | ({"stack_trace": trace} if trace else {}))
