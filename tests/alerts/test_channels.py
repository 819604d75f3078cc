"""Every channel against a far end that takes, refuses, throttles, hangs, breaks off and lies: accepted means accepted."""

from __future__ import annotations

import hashlib
import hmac
import json
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from aiosmtpd.controller import Controller
from kafka import KafkaConsumer
from pydantic import TypeAdapter, ValidationError

from alerts.conftest import message, transition
from alerts.far_end import CUT, HANG, Answer, FarEnd
from promolake.alerts.channels import Channel, ChannelConfig, base
from promolake.alerts.channels.dingtalk import signature
from promolake.alerts.channels.inside import Memory
from promolake.alerts.message import Refused, TryLater
from promolake.engine.kafka import ensure_topics

SECRET = "SEC-a-canary-that-must-not-be-seen"


def channel(**settings: Any) -> Channel:
    return TypeAdapter(ChannelConfig).validate_python({"name": "one", **settings})


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", SECRET)


CANARY = {"env": "CANARY"}
ROBOTS: dict[str, Callable[[str], Channel]] = {
    "dingtalk": lambda url: channel(type="dingtalk", token=CANARY, secret=CANARY, mobiles=["13800000000"], base_url=url),
    "wecom": lambda url: channel(type="wecom", key=CANARY, base_url=url),
    "wechat_work": lambda url: channel(type="wechat_work", corp_id="corp", agent_id=1, secret=CANARY, base_url=url),
}
HTTP = ROBOTS | {
    "webhook": lambda url: channel(type="webhook", base_url=f"{url}/hook", secret=CANARY),
    "alertmanager": lambda url: channel(type="alertmanager", base_url=url),
    "sms_aliyun": lambda url: channel(
        type="sms_aliyun", access_key_id=CANARY, access_key_secret=CANARY, phones=["13800000000"], sign_name="s", template="t", base_url=url
    ),
}
TAKEN = {"errcode": 0, "errmsg": "ok", "access_token": "t-1", "expires_in": 7200, "Code": "OK", "Message": "OK"}


@pytest.mark.parametrize("kind", HTTP)
def test_a_message_that_is_accepted_is_sent_once_with_its_id(kind: str, end: FarEnd) -> None:
    end.otherwise = Answer(body=TAKEN)
    HTTP[kind](end.url).send(message())
    sent = [request for request in end.requests if "gettoken" not in request.path]
    assert len(sent) == 1
    seen = sent[0].body + sent[0].raw_query.encode()
    assert b"n-1" in seen or kind == "alertmanager", "the notification's id"
    assert b"IpFlood" in seen or b"192.0.2.0" in seen or b"192" in seen


@pytest.mark.parametrize("kind", HTTP)
@pytest.mark.parametrize("answer", [Answer(503), Answer(429), CUT], ids=["503", "429", "cut"])
def test_a_far_end_in_trouble_is_tried_again_later(kind: str, answer: Answer, end: FarEnd) -> None:
    end.otherwise = answer
    with pytest.raises(TryLater) as failure:
        HTTP[kind](end.url).send(message())
    assert SECRET not in str(failure.value)


@pytest.mark.parametrize("kind", ["dingtalk", "webhook"])
def test_a_far_end_that_hangs_is_given_up_in_time(kind: str, end: FarEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "TIMEOUT_S", (0.5, 0.5))
    end.otherwise = HANG
    began = time.monotonic()
    with pytest.raises(TryLater):
        HTTP[kind](end.url).send(message())
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("kind", ROBOTS)
def test_a_refusal_dressed_as_http_200_is_a_refusal(kind: str, end: FarEnd) -> None:
    end.otherwise = Answer(body={"errcode": 310000, "errmsg": f"sign not match {SECRET}"})
    with pytest.raises(Refused) as failure:
        ROBOTS[kind](end.url).send(message())
    assert "310000" in str(failure.value)
    assert SECRET not in str(failure.value)


@pytest.mark.parametrize(("kind", "code"), [("dingtalk", 130101), ("wecom", 45009), ("wechat_work", 45009)])
def test_a_robot_that_is_spoken_to_too_fast_is_tried_again_in_a_minute(kind: str, code: int, end: FarEnd) -> None:
    end.script = [Answer(body=TAKEN)] if kind == "wechat_work" else []
    end.otherwise = Answer(body={"errcode": code, "errmsg": "slow down"})
    with pytest.raises(TryLater) as failure:
        ROBOTS[kind](end.url).send(message())
    assert failure.value.after_s == 60


@pytest.mark.parametrize("kind", ROBOTS)
def test_an_answer_without_errcode_is_no_acceptance(kind: str, end: FarEnd) -> None:
    end.otherwise = Answer(body={"hello": "captive portal"})
    with pytest.raises(TryLater):
        ROBOTS[kind](end.url).send(message())


def test_a_throttled_webhook_is_tried_again_when_it_says(end: FarEnd) -> None:
    end.otherwise = Answer(429, headers={"Retry-After": "17"})
    with pytest.raises(TryLater) as failure:
        HTTP["webhook"](end.url).send(message())
    assert failure.value.after_s == 17


@pytest.mark.parametrize("status", [301, 302, 400, 401, 404])
def test_redirects_and_client_errors_are_refusals(status: int, end: FarEnd) -> None:
    end.otherwise = Answer(status, headers={"Location": f"{end.url}/elsewhere"})
    with pytest.raises(Refused):
        HTTP["webhook"](end.url).send(message())
    assert len(end.requests) == 1, "a redirect was followed"


def test_the_dingtalk_signature_is_the_documented_one() -> None:
    """openssl: printf '1577262236757\\nSECtest' | openssl dgst -sha256 -hmac SECtest -binary | base64"""
    assert signature(1577262236757, "SECtest") == "Za/ne6w2koB8B4ROVlgTNd/X+/FbyDpZrXLz57xNZSA="


def test_the_dingtalk_signature_arrives_encoded_once_and_nobody_is_called_by_a_text_from_outside(end: FarEnd) -> None:
    ROBOTS["dingtalk"](end.url).send(message())
    (request,) = end.requests
    assert request.path == "/robot/send"
    assert request.query["access_token"] == SECRET
    assert request.query["sign"] == signature(int(request.query["timestamp"]), SECRET)
    assert "%25" not in request.raw_query
    assert request.json["msgtype"] == "markdown"
    assert request.json["at"] == {"atMobiles": ["13800000000"], "isAtAll": False}
    text = request.json["markdown"]["text"]
    assert text.endswith("@13800000000")
    assert "@all" not in text
    assert "\n# now" not in text
    assert "<b>" not in text.replace("\\<b\\>", "")


def test_a_wechat_work_token_is_asked_for_once_and_again_when_it_is_over(end: FarEnd) -> None:
    one = ROBOTS["wechat_work"](end.url)
    end.otherwise = Answer(body=TAKEN)
    one.send(message())
    one.send(message())
    assert [request.path.rpartition("/")[2] for request in end.requests] == ["gettoken", "send", "send"]
    end.script = [Answer(body={"errcode": 42001, "errmsg": "access_token expired"})]
    with pytest.raises(TryLater):
        one.send(message())
    one.send(message())
    assert [request.path.rpartition("/")[2] for request in end.requests[3:]] == ["send", "gettoken", "send"]


def test_a_webhook_is_given_alertmanagers_body_signed(end: FarEnd) -> None:
    HTTP["webhook"](end.url).send(message(transition(1), transition(2, "resolved")))
    (request,) = end.requests
    assert request.headers["X-Promolake-Signature"] == "sha256=" + hmac.new(SECRET.encode(), request.body, hashlib.sha256).hexdigest()
    body = request.json
    assert (body["version"], body["status"], body["receiver"], body["notificationId"]) == ("4", "firing", "everybody", "n-1")
    assert body["groupLabels"] == {"alertname": "IpFlood"}
    assert body["commonLabels"] == {"alertname": "IpFlood", "severity": "page"}
    firing, resolved = body["alerts"]
    assert (firing["status"], firing["startsAt"], firing["endsAt"]) == ("firing", "2026-11-11T00:00:00Z", "0001-01-01T00:00:00Z")
    assert (resolved["status"], resolved["endsAt"]) == ("resolved", "2026-11-11T00:05:00Z")
    assert firing["annotations"]["rows_sql"] == "SELECT 1"


def test_an_aliyun_refusal_is_told_apart_from_its_limits(end: FarEnd) -> None:
    one = HTTP["sms_aliyun"](end.url)
    end.otherwise = Answer(body={"Code": "isv.SMS_TEMPLATE_ILLEGAL", "Message": "no such template"})
    with pytest.raises(Refused, match="TEMPLATE_ILLEGAL"):
        one.send(message())
    end.otherwise = Answer(body={"Code": "isv.BUSINESS_LIMIT_CONTROL", "Message": "too many"})
    with pytest.raises(TryLater, match="LIMIT_CONTROL"):
        one.send(message())


@pytest.mark.parametrize(("url", "error"), [("dingtalk://s@t/", Refused), ("nonsense://x", Refused)])
def test_apprise_is_not_trusted_with_what_it_reports_wrongly(url: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPRISE", url)
    with pytest.raises(error):
        channel(type="apprise", url={"env": "APPRISE"}).send(message())


def test_apprise_delivers_and_says_when_it_could_not(end: FarEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPRISE", end.url.replace("http://", "json://"))
    one = channel(type="apprise", url={"env": "APPRISE"})
    one.send(message())
    assert "notification n-1" in end.requests[0].json["message"]
    end.otherwise = Answer(500)
    with pytest.raises(TryLater):
        one.send(message())


# --- mail: a real server ------------------------------------------------------------------------------------------------------------


class Mailbox:
    """What the server keeps, and what it answers to a recipient."""

    def __init__(self) -> None:
        self.mails: list[Any] = []
        self.answer = "250 OK"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if self.answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.answer

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mails.append(envelope)
        return "250 taken"


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run([*made.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return key, certificate


@pytest.fixture
def server(mailbox: Mailbox, certificate: tuple[Path, Path]) -> Iterator[Controller]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate[1], certificate[0])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Controller(mailbox, hostname="127.0.0.1", port=port, tls_context=context, require_starttls=True)
    controller.start()
    yield controller
    controller.stop()


def mail(server: Controller, certificate: Path, **settings: Any) -> Channel:
    words = {"type": "email", "host": "localhost", "port": server.port, "ca_file": certificate, "from": "lake@example.com"}
    return channel(**words | {"to": ["oncall@example.com"]} | settings)


def test_a_mail_arrives_over_tls_as_text_and_html_with_its_id(server: Controller, mailbox: Mailbox, certificate: tuple[Path, Path]) -> None:
    mail(server, certificate[1]).send(message())
    (taken,) = mailbox.mails
    text = taken.content.decode()
    assert (taken.mail_from, taken.rcpt_tos) == ("lake@example.com", ["oncall@example.com"])
    assert "Message-ID: <n-1@promolake>" in text
    assert "Content-Type: text/plain" in text
    assert "Content-Type: text/html" in text
    assert "&lt;b&gt;see" in text
    assert text.count("Subject:") == 1


def test_a_mail_is_not_sent_to_a_server_whose_certificate_nobody_vouches_for(server: Controller, mailbox: Mailbox) -> None:
    with pytest.raises(TryLater):
        mail(server, None).send(message())  # type: ignore[arg-type]
    assert mailbox.mails == []


@pytest.mark.parametrize(("answer", "error"), [("550 no such user", Refused), ("451 try again later", TryLater)])
def test_a_mail_servers_no_is_for_good_or_for_now(
    answer: str, error: type[Exception], server: Controller, mailbox: Mailbox, certificate: tuple[Path, Path]
) -> None:
    mailbox.answer = answer
    with pytest.raises(error, match=answer[:3]):
        mail(server, certificate[1]).send(message())


# --- inside the house, and a real Alertmanager --------------------------------------------------------------------------------------


def test_a_kafka_record_per_transition_is_keyed_by_its_id(bootstrap: str) -> None:
    ensure_topics(bootstrap, ["alerts.out"], 1)
    channel(type="kafka", bootstrap=bootstrap, topic="alerts.out").send(message(transition(1), transition(2)))
    consumer = KafkaConsumer("alerts.out", bootstrap_servers=bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=10_000)
    found = {record.key.decode(): json.loads(record.value) for record, _ in zip(consumer, range(2), strict=False)}
    consumer.close()
    assert set(found) == {"id1firing", "id2firing"}
    assert found["id1firing"]["labels"]["ip"] == "192.0.2.1"


def test_a_log_and_memory_keep_every_transition(tmp_path: Path) -> None:
    channel(type="log", file="log/alerts.jsonl").at_home(tmp_path).send(message(transition(1), transition(2)))
    lines = [json.loads(line) for line in (tmp_path / "log" / "alerts.jsonl").read_text().splitlines()]
    assert [(line["notification"], line["labels"]["ip"]) for line in lines] == [("n-1", "192.0.2.1"), ("n-1", "192.0.2.2")]
    Memory.sent.clear()
    channel(type="memory").send(message())
    assert [one.id for one in Memory.sent["one"]] == ["n-1"]


@pytest.mark.skipif(shutil.which("prometheus-alertmanager") is None, reason="Debian's prometheus-alertmanager is not installed")
def test_a_real_alertmanager_knows_what_fires_and_what_is_resolved(tmp_path: Path, until: Callable[..., None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = tmp_path / "alertmanager.yml"
    config.write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")
    command = ["prometheus-alertmanager", f"--config.file={config}", f"--storage.path={tmp_path}/data", "--cluster.listen-address="]
    with (tmp_path / "log").open("w") as log:
        running = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert running.poll() is None, (tmp_path / "log").read_text()
        try:
            return requests.get(f"{url}/-/ready", timeout=2).ok
        except requests.ConnectionError:
            return False

    def firing() -> list[str]:
        return [one["labels"]["ip"] for one in requests.get(f"{url}/api/v2/alerts?active=true", timeout=5).json()]

    try:
        until(answers)
        start = datetime.now(UTC) - timedelta(minutes=1)
        fires = replace(transition(1), starts_at=start)
        resolved = replace(fires, status="resolved", ends_at=start + timedelta(seconds=30))
        am = channel(type="alertmanager", base_url=url)
        am.send(message(fires))
        until(lambda: firing() == ["192.0.2.1"])
        am.send(message(resolved))
        until(lambda: firing() == [])
    finally:
        running.terminate()
        running.wait()


def test_a_secret_in_clear_is_refused_and_a_missing_one_is_named_without_its_value(end: FarEnd) -> None:
    with pytest.raises(ValidationError, match="never in clear"):
        channel(type="dingtalk", token="in-clear")
    with pytest.raises(TryLater, match="NOT_THERE"):
        channel(type="dingtalk", token={"env": "NOT_THERE"}, base_url=end.url).send(message())
    assert SECRET not in repr(ROBOTS["dingtalk"](end.url))
    assert end.requests == []
