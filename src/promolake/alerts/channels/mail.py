"""E-mail by SMTP, as text and HTML (RFC 5321; TLS by RFC 3207 STARTTLS or from the first byte, RFC 8314)."""

from __future__ import annotations

import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate
from pathlib import Path
from typing import Literal

from pydantic import Field

from promolake.alerts.channels.base import Channel
from promolake.alerts.message import Message, Refused, TryLater
from promolake.alerts.secret import Secret

TIMEOUT_S = 10


class Mail(Channel):
    """`tls: none` is for a relay on this machine."""

    type: Literal["email"]
    host: str
    port: int = 587
    tls: Literal["starttls", "tls", "none"] = "starttls"
    ca_file: Path | None = None
    username: str = ""
    password: Secret | None = None
    sender: str = Field(alias="from")
    to: tuple[str, ...] = Field(min_length=1)

    def send(self, message: Message) -> None:
        mail = EmailMessage()
        mail["Subject"] = " ".join(message.title.split())
        mail["From"], mail["To"] = self.sender, ", ".join(self.to)
        mail["Date"] = formatdate(usegmt=True)
        mail["Message-ID"] = f"<{message.id}@promolake>"  # the same on every try: a mailbox shows it once
        mail["X-Promolake-Notification"] = message.id
        mail.set_content(message.text)
        mail.add_alternative(message.html, subtype="html")
        try:
            with self._connected() as server:
                refused = server.send_message(mail)
        except smtplib.SMTPRecipientsRefused as error:
            self._raise(max(code for code, _ in error.recipients.values()))
        except smtplib.SMTPResponseException as error:
            self._raise(error.smtp_code)
        except (smtplib.SMTPException, OSError) as error:
            raise TryLater(f"{self.host}: {type(error).__name__}") from None
        if refused:
            raise Refused(f"{self.host} took it for {len(self.to) - len(refused)} of {len(self.to)} addresses")

    def _connected(self) -> smtplib.SMTP:
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.tls == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, timeout=TIMEOUT_S, context=context)
        else:
            server = smtplib.SMTP(self.host, self.port, timeout=TIMEOUT_S)
        if self.tls == "starttls":
            server.starttls(context=context)
        if self.username and self.password:
            server.login(self.username, self.password.read())
        return server

    def _raise(self, code: int) -> None:
        kind = TryLater if 400 <= code < 500 else Refused
        raise kind(f"{self.host} answered {code}") from None
