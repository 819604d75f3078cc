"""WeCom's group robot and the WeChat Work application (developer.work.weixin.qq.com, "Group robots" and "Send application messages")."""

from __future__ import annotations

import time
from typing import ClassVar, Literal

from pydantic import PrivateAttr

from promolake.alerts.channels.base import Channel, checked, post
from promolake.alerts.message import Message
from promolake.alerts.secret import Secret

TOO_FAST = frozenset({-1, 45009, 45033})  # the system is busy, calls or messages come too fast
TOKEN_OVER = frozenset({40014, 42001})
LONGEST = 4_000  # bytes of Markdown: 4,096


def _shortened(text: str, longest: int) -> str:
    return text.encode()[:longest].decode(errors="ignore")


class WeComRobot(Channel):
    """A group's robot; `key` stands in its webhook's address. `mobiles` are called by a text message of their own, as Markdown cannot."""

    type: Literal["wecom"]
    budget: ClassVar[int] = 20
    key: Secret
    mobiles: tuple[str, ...] = ()
    base_url: str = "https://qyapi.weixin.qq.com"

    def send(self, message: Message) -> None:
        body = {"msgtype": "markdown", "markdown": {"content": _shortened(message.markdown, LONGEST)}}
        if self.mobiles:
            text = _shortened(message.text, 2_000)
            body = {"msgtype": "text", "text": {"content": text, "mentioned_mobile_list": list(self.mobiles)}}
        checked(post(f"{self.base_url}/cgi-bin/webhook/send", params={"key": self.key.read()}, json=body), TOO_FAST)


class WeChatWork(Channel):
    """An application of a company's WeChat Work writes to `to` (users joined by |, @all: everyone who may see it)."""

    type: Literal["wechat_work"]
    corp_id: str
    agent_id: int
    secret: Secret
    to: str = "@all"
    base_url: str = "https://qyapi.weixin.qq.com"
    _token: tuple[str, float] = PrivateAttr(("", 0.0))

    def send(self, message: Message) -> None:
        body = {
            "touser": self.to,
            "msgtype": "markdown",
            "agentid": self.agent_id,
            "markdown": {"content": _shortened(message.markdown, 2_000)},
            "enable_duplicate_check": 1,
        }
        answer = post(f"{self.base_url}/cgi-bin/message/send", params={"access_token": self._access()}, json=body)
        if answer.ok and answer.text and any(f'"errcode":{code}' in answer.text.replace(" ", "") for code in TOKEN_OVER):
            self._token = ("", 0.0)
        checked(answer, TOO_FAST | TOKEN_OVER)

    def _access(self) -> str:
        token, until = self._token
        if time.monotonic() >= until:
            query = {"corpid": self.corp_id, "corpsecret": self.secret.read()}
            body = checked(post(f"{self.base_url}/cgi-bin/gettoken", params=query), TOO_FAST)
            token = body["access_token"]
            self._token = (token, time.monotonic() + 0.9 * body.get("expires_in", 7200))
        return token
