"""The operations page over a home as it stands on the disk: locks, checkpoints, silences, and a broker that is away."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from promolake import settings
from promolake.alerts.message import Message
from promolake.alerts.outbox import Outbox, outbox_file
from promolake.alerts.routing import Policy
from promolake.alerts.silences import Silences
from promolake.cli.operating import Probe, query
from promolake.cli.page import assembled
from promolake.engine.lock import writing
from promolake.engine.stopped import StoppedTables
from promolake.hallway import HALLWAY
from promolake.serving.page.access import Access, Keyring
from promolake.serving.page.outside import Outside
from promolake.serving.page.part import Role
from serving.conftest import Lake
from serving.page.client import Client
from serving.page.home import SECRET, checkpoint, filled, seconds

HTML = {"Accept": "text/html"}


@pytest.fixture
def nowhere() -> Iterator[str]:
    """The address of something that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def probed(home: Path) -> Outside:
    return Probe(settings.load(home)).outside()


@pytest.fixture
def client(home: Path) -> Client:
    filled(Lake(home / "lake"))
    checkpoint(home)
    return Client(assembled(settings.load(home), Access(Keyring(home / "tokens.json"))))


def page(client: Client, **headers: str) -> str:
    answer = client.get("/operations", headers=HTML | headers)
    assert answer.status_code == 200
    return answer.text


# --- what no table says --------------------------------------------------------------------------------------------------------------


def test_an_empty_home_is_nothing_and_stays_untouched(home: Path) -> None:
    found = probed(home)
    assert (found.running, found.broker, found.ends, found.queries, dict(found.stopped)) == ((), "", None, (), {})
    assert found.disk.free > 0
    assert not home.exists()


def test_who_writes_the_lake_is_who_holds_its_locks(home: Path) -> None:
    with writing(home, HALLWAY.tables[:1]):
        assert probed(home).running == (os.getpid(),)
    assert probed(home).running == ()


def test_a_query_stands_by_the_files_of_its_checkpoint(home: Path) -> None:
    checkpoint(home)
    found = query(home / "checkpoints" / "main")
    assert (found.name, found.planned, found.done) == ("main", 2, 2)
    assert (found.done_at, found.batch_seconds) == (seconds(10 - 3), (1.0, 2.0, 3.0))
    assert found.ends == {"shop.orders": {0: 100, 1: 50}}
    assert (found.in_hand_since, found.watermark) == (None, None)


def test_a_batch_in_hand_counts_as_not_read(home: Path) -> None:
    checkpoint(home, batches=2, unfinished=True)
    found = query(home / "checkpoints" / "main")
    assert (found.done, found.in_hand_since, found.ends) == (0, seconds(10), {"shop.orders": {0: 50, 1: 50}})


def test_a_damaged_checkpoint_is_no_error_of_the_page(home: Path) -> None:
    checkpoint(home)
    (home / "checkpoints" / "main" / "offsets" / "2").write_text("")
    found = query(home / "checkpoints" / "main")
    assert (found.done, found.ends) == (2, None)


def test_a_broker_that_does_not_answer_is_said_within_seconds(home: Path, monkeypatch: pytest.MonkeyPatch, nowhere: str) -> None:
    monkeypatch.setenv("PROMOLAKE_KAFKA__BOOTSTRAP", nowhere)
    began = time.monotonic()
    found = probed(home)
    assert (found.broker, found.ends) == (nowhere, None)
    assert time.monotonic() - began < 8


def test_a_stopped_table_is_named_with_its_batch(home: Path) -> None:
    StoppedTables(home).add("gold.gmv_per_minute", 7, "because")
    assert probed(home).stopped == {"gold.gmv_per_minute": 7}


def test_only_silences_that_are_not_over_are_listed(home: Path) -> None:
    silences, now = Silences(home), datetime.now(UTC)
    silences.add(["alertname=IpFlood", "ip=~10[.].*"], now, timedelta(hours=1), "me", "load test")
    silences.add(["alertname=CpuHigh"], now - timedelta(hours=2), timedelta(hours=1), "me", "")
    (shown,) = probed(home).silences
    assert (shown.matchers, shown.created_by, shown.comment) == ("alertname=IpFlood, ip=~10[.].*", "me", "load test")


def test_who_was_told_comes_from_the_outbox(home: Path) -> None:
    outbox = Outbox(outbox_file(home))
    row = {"alert_id": "a1", "fingerprint": "f1", "status": "firing", "labels": '{"alertname": "IpFlood"}', "annotations": "{}"}
    row |= {"value": 1.0, "starts_at": seconds(60), "ends_at": None, "rows_sql": "", "ingested_at": seconds(30)}
    now = time.time()
    policy = Policy("ops", group_wait=timedelta(0))
    assert outbox.take_in([row], lambda labels: [policy], timedelta(hours=1), now) == 1
    outbox.flush(now, lambda firing: lambda labels: "", lambda receiver: ["wecom"])
    message = outbox.next_message("wecom", 0, now)
    assert isinstance(message, Message)
    outbox.delivered(message, "wecom", now)
    outbox.close()
    found = probed(home)
    assert found.notifications == {"wecom": {"delivered": 1}}
    assert [(one.channel, one.outcome, one.alert_ids) for one in found.deliveries] == [("wecom", "delivered", ("a1",))]


def test_the_disk_is_said_by_directory(home: Path) -> None:
    (home / "lake").mkdir(parents=True)
    (home / "lake" / "file").write_bytes(b"x" * 1000)
    assert probed(home).disk.used == {"lake": 1000}


# --- the page ------------------------------------------------------------------------------------------------------------------------


def test_the_page_says_that_nothing_runs_and_that_the_lag_is_not_known(client: Client) -> None:
    text = page(client)
    assert "No run is alive: nothing is taken in. The newest batch ended" in text
    assert "No Kafka broker is configured" in text
    assert re.search(r'<th scope="row">shop.orders</th>\s*<td>\?</td>\s*<td>[01][.0]*</td>\s*<td>160</td>', text)


def test_the_page_says_who_runs(client: Client, home: Path) -> None:
    with writing(home, HALLWAY.tables[:1]):
        assert f"Process {os.getpid()} writes this lake" in page(client)


def test_what_came_from_outside_stays_text(client: Client) -> None:
    text = page(client)
    assert "&lt;script&gt;alert(1)&lt;/script&gt; 192.0.2.1" in text
    assert "<script>alert" not in text
    assert text.count("<script") == 2  # base.js and operations.js, by address
    assert " style=" not in text


def test_no_payload_is_shown(client: Client) -> None:
    for address in ("/operations", "/operations/now", "/metrics"):
        text = client.get(address, headers=HTML).text
        assert "13812345678" not in text
        assert SECRET.decode() not in text
        assert "price_not_negative" in text


def test_the_page_speaks_chinese_to_who_prefers_it(client: Client) -> None:
    text = page(client, **{"Accept-Language": "zh-CN,zh;q=0.9"})
    assert "没有作业在运行" in text
    assert "The hallway" not in text


def test_what_changes_is_a_piece_of_the_page(client: Client) -> None:
    piece = client.get("/operations/now").text
    assert "<html" not in piece
    assert 'class="hallway"' in piece


# --- silences ------------------------------------------------------------------------------------------------------------------------

FORM = {"matchers": "alertname=IpFlood\r\nip=~10[.].*\r\n", "length": "2h", "comment": "load test", "by": "me"}


def test_a_silence_is_made_shown_and_ended(client: Client, home: Path) -> None:
    made = client.post("/operations/silences", data=FORM, headers=HTML)
    assert (made.status_code, made.headers["location"]) == (303, "/operations#silences")
    (silence,) = Silences(home).all()
    assert [f"{m.label}{m.operator}{m.text}" for m in silence.matchers] == ["alertname=IpFlood", "ip=~10[.].*"]
    assert (silence.ends_at - silence.starts_at, silence.created_by, silence.comment) == (timedelta(hours=2), "me", "load test")
    assert "alertname=IpFlood, ip=~10[.].*" in page(client)
    assert client.post("/operations/silences/end", data={"id": silence.id}, headers=HTML).status_code == 303
    assert Silences(home).all()[0].ends_at <= datetime.now(UTC)
    assert "Nothing is silenced." in page(client)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"matchers": "  \n"}, "needs at least one matcher"),
        ({"matchers": "<b>ip"}, "is no matcher such as"),
        ({"length": "soon"}, "is no duration"),
        ({"length": "9999999999d"}, "See promolake alerts silence"),
    ],
)
def test_a_silence_that_is_none_is_refused_in_a_sentence_with_what_was_typed(
    client: Client, home: Path, change: dict[str, str], said: str
) -> None:
    refused = client.post("/operations/silences", data=FORM | change, headers=HTML)
    assert refused.status_code == 400
    assert said in refused.text
    assert 'value="load test"' in refused.text
    assert "<b>ip" not in refused.text
    assert Silences(home).all() == ()


def test_ending_a_silence_that_is_none_is_refused(client: Client) -> None:
    assert "There is no silence nothing." in client.post("/operations/silences/end", data={"id": "nothing"}, headers=HTML).text


@pytest.mark.parametrize("address", ["/operations/silences", "/operations/silences/end"])
@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}])
def test_another_site_cannot_silence_in_an_operators_name(
    client: Client, home: Path, address: str, headers: dict[str, str]
) -> None:
    assert client.post(address, data=FORM, headers=headers).status_code == 403
    assert Silences(home).all() == ()


@pytest.mark.parametrize("address", ["/operations/silences", "/operations/silences/end"])
def test_a_silence_is_never_made_by_a_link(client: Client, address: str) -> None:
    assert client.get(address).status_code in (404, 405)


ROUTES = [("GET", "/operations"), ("GET", "/operations/now"), ("GET", "/metrics")]
DEEDS = [("POST", "/operations/silences"), ("POST", "/operations/silences/end")]


def call(client: Client, method: str, address: str, token: str = "") -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return client.request(method, address, data=FORM if method == "POST" else None, headers=headers)


@pytest.mark.parametrize(("method", "address"), ROUTES + DEEDS)
def test_every_route_asks_for_a_token_and_for_its_role(client: Client, home: Path, method: str, address: str) -> None:
    keyring = Keyring(home / "tokens.json")
    viewer, operator = keyring.add("v", Role.VIEWER), keyring.add("o", Role.OPERATOR)
    assert call(client, method, address).status_code == 401
    assert call(client, method, address, viewer).status_code == (403 if (method, address) in DEEDS else 200)
    assert call(client, method, address, operator).status_code in (200, 303, 400)  # 400: there is no silence of that id


def test_a_viewer_sees_silences_but_no_form(client: Client, home: Path) -> None:
    Silences(home).add(["alertname=IpFlood"], datetime.now(UTC), timedelta(hours=1), "me", "")
    assert "<textarea" in page(client)
    viewer = Keyring(home / "tokens.json").add("v", Role.VIEWER)
    seen = page(client, Authorization=f"Bearer {viewer}")
    assert "alertname=IpFlood" in seen
    assert "<textarea" not in seen
    assert 'action="/operations' not in seen
