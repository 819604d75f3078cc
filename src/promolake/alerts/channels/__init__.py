"""The channels, one small class each; a new one is a class and a line here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from promolake.alerts.channels.base import Channel
from promolake.alerts.channels.dingtalk import DingTalk
from promolake.alerts.channels.inside import KafkaTopic, LogFile, Memory
from promolake.alerts.channels.mail import Mail
from promolake.alerts.channels.sms import AliyunSms, Apprise
from promolake.alerts.channels.webhook import Alertmanager, Webhook
from promolake.alerts.channels.wecom import WeChatWork, WeComRobot

ChannelConfig = Annotated[
    Mail | AliyunSms | Apprise | DingTalk | WeComRobot | WeChatWork | Webhook | Alertmanager | KafkaTopic | LogFile | Memory,
    Field(discriminator="type"),
]
__all__ = ["Channel", "ChannelConfig"]
