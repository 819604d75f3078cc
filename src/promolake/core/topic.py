"""A Kafka topic as a contract: what its producers promise to send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["id", "text", "time", "integer", "decimal", "percent", "ip", "code"]
"""id: a short identifier; code: one of a closed list; percent: a finite float or null; time: see columns/event_time.py."""

Sensitive = Literal["user", "name", "phone", "email", "address", "card"]
"""Never leaves bronze in clear: `user` becomes a pseudonym, the others are masked."""

Codec = Literal["json", "access_line", "log_event"]


@dataclass(frozen=True)
class Field:
    """One promised field of a payload. `name` is dotted for a nested one (`receiver.phone`)."""

    name: str
    kind: Kind
    description: str
    required: bool = False
    sensitive: Sensitive | None = None
    one_of: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None

    @property
    def path(self) -> tuple[str, ...]:
        return tuple(self.name.split("."))

    @property
    def flat(self) -> str:
        """The field's name as a column: `receiver.phone` is `receiver_phone`."""
        return self.name.replace(".", "_")


@dataclass(frozen=True)
class Topic:
    """A contract: name, codec of the value, the field whose text is the message key, the fields, and examples that keep it."""

    name: str
    description: str
    codec: Codec
    key: str
    fields: tuple[Field, ...]
    examples: tuple[str, ...]

    @property
    def slug(self) -> str:
        """The topic's name as an identifier: `shop.orders` is `shop_orders`."""
        return self.name.replace(".", "_")
