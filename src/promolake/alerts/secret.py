"""Secrets come from a file or the environment and are read when they are used; no configuration, log or error ever holds one."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, model_validator

from promolake.alerts.message import TryLater


class Secret(BaseModel):
    """Where a secret stands: `{file: PATH}` or `{env: NAME}`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    file: Path | None = None
    env: str = ""

    @model_validator(mode="before")
    @classmethod
    def _not_in_clear(cls, given: object) -> object:
        if not isinstance(given, dict) or (set(given) != {"file"} and set(given) != {"env"}):
            raise ValueError("a secret is given as {file: PATH} or {env: NAME}, never in clear")
        return given

    def read(self) -> str:
        """The secret. Raises TryLater naming where it should stand: it may be put there yet."""
        try:
            value = self.file.read_text().strip() if self.file else os.environ.get(self.env, "")
        except OSError as error:
            raise TryLater(f"the secret in {self.file} cannot be read: {error.strerror}") from None
        if not value:
            raise TryLater(f"the secret {self.file or self.env} is empty")
        return value
