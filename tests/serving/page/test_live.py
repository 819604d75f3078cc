"""What viewers are sent: every new cut once, the same bytes for all, and nobody waits for anybody."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from starlette.testclient import TestClient

from promolake.core.errors import SettingsError
from promolake.serving.page import live
from promolake.serving.page.live import Live, encoded
from promotion import Promotion, at, busy_minute, sale

PATIENCE = 10  # seconds


class FakeBoard:
    """Has news whenever `version` moved on; counts how often it is computed."""

    def __init__(self) -> None:
        self.version = 0
        self.half = 0  # commits of a batch that is not whole
        self.computed = self.failed = 0
        self.fails: Exception | None = None
        self._seen = (-1, 0)

    def has_news(self) -> bool:
        return (self.version, self.half) != self._seen

    def newest(self) -> dict[str, Any]:
        if self.fails:
            self.failed += 1
            raise self.fails
        self._seen = (self.version, self.half)
        self.computed += 1
        return {"cut": f"{self.version}-0", "tiles": {}}


@pytest.fixture
def board() -> FakeBoard:
    return FakeBoard()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "POLL_SECONDS", 0.005)
    monkeypatch.setattr(live, "PACE_SECONDS", 0.01)


def played(board: FakeBoard, scene: Callable[[Live], Awaitable[None]]) -> None:
    """Plays a scene with the poller running."""

    async def run() -> None:
        frames = Live(board)
        poller = asyncio.create_task(frames.keep_up())
        async with asyncio.timeout(PATIENCE):
            await scene(frames)
        poller.cancel()

    asyncio.run(run())


async def figures(events: AsyncIterator[bytes]) -> bytes:
    """The next event that is no beat."""
    async for event in events:
        if not event.startswith(b"event: beat"):
            return event
    raise AssertionError("the stream ended")


def test_all_viewers_are_sent_the_same_bytes_of_a_cut_computed_once(board: FakeBoard) -> None:
    async def scene(frames: Live) -> None:
        viewers = [frames.events("") for _ in range(20)]
        first = await asyncio.gather(*(figures(viewer) for viewer in viewers))
        assert set(first) == {b'id: 0-0\ndata: {"cut":"0-0","tiles":{}}\n\n'}
        assert all(event is first[0] for event in first)
        board.version = 1
        second = await asyncio.gather(*(figures(viewer) for viewer in viewers))
        assert {event.partition(b"\n")[0] for event in second} == {b"id: 1-0"}
        assert board.computed == 2

    played(board, scene)


def test_half_a_batch_shows_nothing_and_keeps_nobody_from_the_whole(board: FakeBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(frames: Live) -> None:
        viewer = frames.events("")
        await figures(viewer)
        monkeypatch.setattr(live, "PACE_SECONDS", 10 * PATIENCE)  # were the half taken for a new cut, the whole would come too late
        board.half = 1
        while board.computed < 2:
            await asyncio.sleep(0)
        board.version = 1
        assert (await figures(viewer)).startswith(b"id: 1-0")

    played(board, scene)


def test_whoever_takes_gzip_is_sent_the_same_packed_once(board: FakeBoard) -> None:
    async def scene(frames: Live) -> None:
        viewers = [frames.events("", is_packed=True) for _ in range(2)]
        beats = [await anext(viewer) for viewer in viewers]
        for version in range(2):
            board.version = version
            events = await asyncio.gather(*(anext(viewer) for viewer in viewers))
            assert events[0] is events[1]
            beats = [beat + event for beat, event in zip(beats, events, strict=True)]
        for sent in beats:
            read = zlib.decompressobj(wbits=31).decompress(sent).decode()
            assert [line for line in read.splitlines() if line.startswith("id")] == ["id: 0-0", "id: 1-0"]

    played(board, scene)


def test_nothing_is_computed_while_nobody_looks(board: FakeBoard) -> None:
    async def scene(frames: Live) -> None:
        viewer = frames.events("")
        await figures(viewer)
        await viewer.aclose()
        assert frames.viewers == 0
        board.version = 1
        for _ in range(20):
            await asyncio.sleep(0)
        assert board.computed == 1
        assert b"1-0" in await figures(frames.events("0-0"))

    played(board, scene)


def test_a_viewer_that_is_slow_gets_the_newest_and_delays_nobody(board: FakeBoard) -> None:
    async def scene(frames: Live) -> None:
        slow, quick = frames.events(""), frames.events("")
        await figures(slow)
        await figures(quick)
        for version in range(1, 6):
            board.version = version
            assert (await figures(quick)).startswith(f"id: {version}-0".encode())
        assert (await figures(slow)).startswith(b"id: 5-0")

    played(board, scene)


def test_a_viewer_that_comes_back_is_not_sent_what_it_has(board: FakeBoard) -> None:
    async def scene(frames: Live) -> None:
        assert (await figures(frames.events(""))).startswith(b"id: 0-0")
        back = frames.events("0-0")
        waiting = asyncio.create_task(figures(back))
        for _ in range(50):
            await asyncio.sleep(0)
        assert not waiting.done()
        board.version = 1
        assert (await waiting).startswith(b"id: 1-0")

    played(board, scene)


def test_what_cannot_be_read_is_said(board: FakeBoard) -> None:
    async def scene(frames: Live) -> None:
        board.fails = SettingsError("gold.x has deletion vectors.", "Rewrite it.")
        event = await figures(frames.events(""))
        assert json.loads(event.partition(b"data: ")[2])["trouble"]["en"] == "gold.x has deletion vectors. Rewrite it."
        board.fails = None
        board.version = 1
        assert (await figures(frames.events("trouble"))) is not None

    played(board, scene)


def test_a_table_in_between_two_states_is_read_again(board: FakeBoard) -> None:
    async def scene(frames: Live) -> None:
        board.fails = FileNotFoundError("part-0001.parquet")
        waiting = asyncio.create_task(figures(frames.events("")))
        while not board.failed:
            await asyncio.sleep(0.001)
        board.fails = None
        assert (await waiting).startswith(b"id: 0-0")

    played(board, scene)


def test_what_failed_is_tried_again_though_nothing_is_new_since(board: FakeBoard) -> None:
    async def scene(frames: Live) -> None:
        viewer = frames.events("")
        await figures(viewer)
        board.fails = FileNotFoundError("part-0002.parquet")
        board.version = 1
        waiting = asyncio.create_task(figures(viewer))
        while not board.failed:
            await asyncio.sleep(0.001)
        board._seen = 1  # the tables have been looked at
        board.fails = None
        assert (await waiting).startswith(b"id: 1-0")

    played(board, scene)


def test_money_is_sent_digit_by_digit_and_times_in_utc() -> None:
    value = {"amount": Decimal("12345678901234567890.1234"), "at": datetime(2026, 11, 11, 0, 0, 37, tzinfo=UTC), "name": "手机</script>"}
    assert encoded(value).decode() == '{"amount":"12345678901234567890.1234","at":"2026-11-11T00:00:37Z","name":"手机</script>"}'


# --- over HTTP -----------------------------------------------------------------------------------------------------------------


def test_the_figures_now_and_then(client: TestClient, promotion: Promotion) -> None:
    promotion.batch(busy_minute(0), at(0.5))
    then = datetime.now(UTC)
    before = client.get("/api/screen").json()
    promotion.batch({"gmv_per_minute": [sale(1, "CNY", "5")]}, at(1.5))
    assert client.get("/api/screen").json()["batch"] == 1
    again = client.get("/api/screen", params={"at": then.isoformat()}).json()
    assert (again["tiles"], again["batch"]) == (before["tiles"], 0)


def test_a_time_that_is_none_is_refused_in_a_sentence(client: TestClient) -> None:
    answer = client.get("/api/screen", params={"at": "midnight"})
    assert (answer.status_code, answer.json()) == (400, {"error": "'midnight' is no time. Write it as 2026-11-11T00:00:37Z."})
    page = client.get("/", params={"at": "<script>"}, headers={"Accept": "text/html"})
    assert page.status_code == 400
    assert "<script>" not in page.text.replace("<script src=", "")


def test_a_time_without_a_zone_is_utc(client: TestClient) -> None:
    assert 'data-at="2026-11-11T00:00:37Z"' in client.get("/", params={"at": "2026-11-11T00:00:37"}).text
    assert 'data-at="2026-11-10T16:00:37Z"' in client.get("/", params={"at": "2026-11-11T00:00:37+08:00"}).text
