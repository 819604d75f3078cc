"""What an operator may change: conf/promolake.yaml overlaid by PROMOLAKE_* variables. Typed, frozen; unknown keys are refused.

Nothing here changes a number in gold; what does is code under test. `PROMOLAKE_ENGINE__TRIGGER="1 second"` sets engine.trigger.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, YamlConfigSettingsSource

from promolake.core.errors import EnvironmentProblem, SettingsError
from promolake.whole_file import write_new

PREFIX = "PROMOLAKE_"
FILE = "promolake.yaml"
_OWN_VARIABLES = {"PROMOLAKE_HOME", "PROMOLAKE_CONF", "PROMOLAKE_JARS", "PROMOLAKE_PSEUDONYM_KEY"}


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Kafka(_Section):
    bootstrap: str = Field("", description="host:port of the brokers; empty means the embedded broker of this home.")
    partitions: int = Field(2, ge=1, description="Partitions of a topic when it is created.")
    patience_seconds: int = Field(600, ge=0, description="How long a job waits for a broker that is away before it gives up.")


class Engine(_Section):
    trigger: str = Field("200 milliseconds", description="The least time between two micro-batches of the main scan.")
    join_trigger: str = Field("30 seconds", description="The same for stream-stream joins.")
    max_offsets: int = Field(100_000, ge=1, description="Kafka records of one micro-batch at most.")
    commit_threads: int = Field(4, ge=1, description="Tables committed side by side.")
    spark_above_rows: int = Field(1_000_000, ge=0, description="Writes of more rows go through Spark instead of delta-rs.")
    cores: int = Field(2, ge=1, description="local[N], when no spark-submit says otherwise.")
    driver_memory: str = Field(
        "2g", pattern="^[1-9][0-9]*[kKmMgG]$", description="The driver's heap (2g, 1500m), when no spark-submit says otherwise."
    )


_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


class Maintenance(_Section):
    every: str = Field("2 minutes", pattern=r"^[1-9]\d* (second|minute|hour|day)s?$", description="How often a job tends each table.")
    small_files: int = Field(50, ge=2, description="A table with more small files than this has them put together.")
    keep_days: int = Field(7, ge=1, description="How long files no longer needed and old commits of the logs are kept.")
    bronze_days: int = Field(0, ge=0, description="Whole UTC days bronze is kept; 0 keeps it for ever.")

    @property
    def every_seconds(self) -> int:
        number, unit = self.every.split()
        return int(number) * _UNITS[unit.removesuffix("s")]


class Alerts(_Section):
    enabled: bool = Field(True, description="Whether a run evaluates the rules and delivers what they say.")
    file: Path | None = Field(None, description="Rules, routes and receivers; empty: alerts.yaml beside promolake.yaml.")


class Errors(_Section):
    levels: tuple[str, ...] = Field(("ERROR",), description="Log levels forwarded to app.logs.errors.")
    lane: Literal["realtime", "micro-batch"] = Field(
        "micro-batch", description="Whether micro-batches forward them, or a real-time query does, in milliseconds, and these audit it."
    )

    @property
    def has_lane(self) -> bool:
        return self.lane == "realtime" and bool(self.levels)


class Privacy(_Section):
    key_file: Path | None = Field(
        None, description="File with the pseudonym key; empty: PROMOLAKE_PSEUDONYM_KEY, or a key made in this home."
    )


class Lineage(_Section):
    to: str = Field("", description="A file or an http(s) address that takes OpenLineage run events; empty: they go nowhere.")


class SqlServer(_Section):
    query_seconds: int = Field(300, ge=1, description="A query of a client of `promolake sql-server` is ended after so long.")


class Settings(BaseSettings):
    """All settings, and the home under which all state lives."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, env_prefix=PREFIX, env_nested_delimiter="__")

    home: Path = Path(".promolake")
    kafka: Kafka = Kafka()
    engine: Engine = Engine()
    queries: dict[str, tuple[str, ...]] = Field({"main": ("*",)}, description="Which flows share a query, by its name.")
    maintenance: Maintenance = Maintenance()
    errors: Errors = Errors()
    alerts: Alerts = Alerts()
    privacy: Privacy = Privacy()
    lineage: Lineage = Lineage()
    sql_server: SqlServer = SqlServer()

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, env_settings: Any, **_: Any
    ) -> Any:
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls, conf_directory() / FILE)

    @property
    def lake(self) -> Path:
        return self.home / "lake"

    @property
    def alerts_on(self) -> bool:
        """Whether there are rules to evaluate: not when nothing stands at the default place."""
        return self.alerts.enabled and (self.alerts.file is not None or self.alerts_file.exists())

    @property
    def alerts_file(self) -> Path:
        return self.alerts.file or conf_directory() / "alerts.yaml"

    @property
    def lineage_marks(self) -> Path:
        return self.home / "state" / "lineage"

    def checkpoint(self, query: str) -> Path:
        return self.home / "checkpoints" / query

    def intake(self, query: str) -> Path:
        """Where what a join reads of silver stands until it is read."""
        return self.home / "state" / "intake" / query


def conf_directory() -> Path:
    return Path(os.environ.get("PROMOLAKE_CONF", "conf"))


def load(home: Path | None = None) -> Settings:
    """The settings, with `home` made absolute. Raises SettingsError naming the key and the place it stands."""
    _refuse_unknown_variables()
    chosen = {"home": home} if home else {}
    try:
        settings = Settings(**chosen)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise SettingsError(
            f"{conf_directory() / FILE} or a {PREFIX}* variable: {key}: {first['msg']}.", "Correct or remove the key."
        ) from None
    except Exception as error:  # the YAML parser's own
        raise SettingsError(f"{conf_directory() / FILE} cannot be read: {str(error).splitlines()[0]}.", "Correct the file.") from None
    return settings.model_copy(update={"home": settings.home.expanduser().absolute()})


def _refuse_unknown_variables() -> None:
    """pydantic-settings passes over variables it does not know; a misspelt one must not be silently without effect."""
    for name in os.environ:
        if name.startswith(PREFIX) and name not in _OWN_VARIABLES:
            section, _, key = name.removeprefix(PREFIX).lower().partition("__")
            field = Settings.model_fields.get(section)
            inner = getattr(field.annotation, "model_fields", {}) if field else {}
            if field is None or (inner and key not in inner):
                raise SettingsError(f"The variable {name} names no setting.", "See conf/promolake.yaml for the keys.")


def writable_home(settings: Settings) -> Path:
    """The home, made if need be. Raises EnvironmentProblem when it cannot be written."""
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=settings.home):
            pass
    except OSError as error:
        raise EnvironmentProblem(f"The home {settings.home} cannot be written: {error.strerror}.", "Choose another with --home.") from None
    return settings.home


def pseudonym_key(settings: Settings) -> SecretStr:
    """The key of the pseudonyms: from the configured file, the variable, or a key made once in this home (mode 0600).

    Losing it breaks the join between old and new pseudonyms; whoever has it can test guesses. It is never logged.
    """
    if settings.privacy.key_file:
        return _key_in(settings.privacy.key_file)
    if given := os.environ.get("PROMOLAKE_PSEUDONYM_KEY"):
        return SecretStr(given)
    made = writable_home(settings) / "secrets" / "pseudonym.key"
    if not made.exists():
        made.parent.mkdir(mode=0o700, exist_ok=True)
        with suppress(FileExistsError):  # another job of the home begins at the same moment
            write_new(made, secrets.token_hex(32), 0o600)
    return _key_in(made)


def _key_in(file: Path) -> SecretStr:
    """An empty key (a full disk leaves such a file) is refused: with it anybody can compute the pseudonyms."""
    try:
        key = file.read_text().strip()
    except OSError as error:
        raise SettingsError(f"The pseudonym key file {file} cannot be read: {error.strerror}.", "Correct privacy.key_file.") from None
    if not key:
        raise SettingsError(f"The pseudonym key file {file} is empty.", "Put the key there.")
    return SecretStr(key)
