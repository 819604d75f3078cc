"""SMS through Aliyun (its SDK, SendSms 2017-05-25), and SMS, SMPP and some ninety other services through apprise."""

from __future__ import annotations

import json
from typing import ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field

from promolake.alerts.channels.base import Channel
from promolake.alerts.message import Message, Refused, TryLater
from promolake.alerts.secret import Secret

TOO_FAST = {"isv.BUSINESS_LIMIT_CONTROL", "Throttling", "Throttling.User", "isp.SYSTEM_ERROR", "ServiceUnavailable"}
NO_ANSWER = "UnretryableException"  # the SDK's own word for a far end that gave no proper answer
LONGEST = 35  # characters a template's variable takes


class AliyunSms(Channel):
    """`template` is an approved template with the variables `title` and `id`; `phones` get it together. Needs the extra sms-aliyun."""

    type: Literal["sms_aliyun"]
    budget: ClassVar[int] = 1  # a phone takes one a minute, five an hour
    access_key_id: Secret
    access_key_secret: Secret
    phones: tuple[str, ...] = Field(min_length=1)
    sign_name: str
    template: str
    base_url: str = "https://dysmsapi.aliyuncs.com"

    def send(self, message: Message) -> None:
        try:
            from alibabacloud_dysmsapi20170525 import models
            from alibabacloud_dysmsapi20170525.client import Client
            from alibabacloud_tea_openapi.models import Config
        except ImportError:
            raise Refused("the extra promolake[sms-aliyun] is not installed") from None
        address = urlsplit(self.base_url)
        config = Config(
            access_key_id=self.access_key_id.read(),
            access_key_secret=self.access_key_secret.read(),
            endpoint=address.netloc,
            protocol=address.scheme,
            connect_timeout=3000,
            read_timeout=5000,
        )
        request = models.SendSmsRequest(
            phone_numbers=",".join(self.phones),
            sign_name=self.sign_name,
            template_code=self.template,
            template_param=json.dumps({"title": message.title[:LONGEST], "id": message.id}, ensure_ascii=False),
            out_id=message.id,
        )
        try:
            answer = Client(config).send_sms(request)
        except Exception as error:  # the SDK raises its own and its HTTP library's
            code = str(getattr(error, "code", "") or type(error).__name__)
            if code in TOO_FAST or code == NO_ANSWER or not hasattr(error, "code"):
                raise TryLater(f"{address.netloc}: {code}") from None
            raise Refused(f"{address.netloc} answered {code}") from None
        code = answer.body.code or ""
        if code in TOO_FAST:
            raise TryLater(f"{address.netloc} answered {code}", 60)
        if code != "OK":
            raise Refused(f"{address.netloc} answered {code}")


class Apprise(Channel):
    """Any service apprise knows, by its URL (github.com/caronc/apprise, "Supported Notifications"). Needs the extra apprise.

    DingTalk and WeCom robots are refused: apprise takes their refusals for success.
    """

    type: Literal["apprise"]
    url: Secret

    def send(self, message: Message) -> None:
        try:
            import apprise
        except ImportError:
            raise Refused("the extra promolake[apprise] is not installed") from None
        url = self.url.read()
        if url.split(":")[0].lower() in ("dingtalk", "wecombot"):
            raise Refused("apprise reports lost DingTalk and WeCom messages as sent: use the channels dingtalk and wecom")
        service = apprise.Apprise()
        if not service.add(url):
            raise Refused("apprise does not know that kind of URL")
        if not service.notify(title=message.title, body=message.text):
            raise TryLater("apprise could not deliver")
