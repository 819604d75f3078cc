"""The door for notebooks and scripts: `promolake.connect()` reads a home's lake without a JVM, `.spark()` of it with one."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa

from promolake import settings as configuration
from promolake.core.errors import PromolakeError
from promolake.serving.sql import Reader

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SAMPLE_HOME = Path(".promolake-notebooks")


class Lake:
    """The tables and views of one home, for one thread. Every question reads the newest version, or what stood at `at`."""

    def __init__(self, settings: configuration.Settings, at: datetime | None = None) -> None:
        self.home = settings.home
        self._settings = settings
        self._reader = Reader(settings.lake, at=at)

    def sql(self, statement: str) -> pd.DataFrame:
        """The answer to one SELECT: times in UTC, money as exact decimal.Decimal. Raises SettingsError when it cannot be answered."""
        return self.arrow(statement).to_pandas()

    def arrow(self, statement: str) -> pa.Table:
        """The same as an Arrow table, money as decimal128."""
        return self._reader.query(statement)

    def tables(self) -> pd.DataFrame:
        """What there is to ask: name, kind (table or view) and description."""
        return pd.DataFrame(self._reader.tables(), columns=["name", "kind", "description"])

    def at(self, instant: datetime) -> Lake:
        """The lake as it stood at an instant (with its zone): what had been committed by then."""
        return Lake(self._settings, instant)

    def spark(self) -> SparkSession:
        """A Spark session in UTC with the same tables and views under the same names; one per process. Needs Java."""
        from promolake.engine.session import session
        from promolake.serving.registration import registered

        spark = session(self._settings, "promolake", print, {"spark.python.sql.dataFrameDebugging.enabled": "true"})  # errors name the cell
        registered(spark, self._settings.lake)
        return spark


def connect(home: str | Path | None = None) -> Lake:
    """The lake of a home: the given one, else of PROMOLAKE_HOME, else `.promolake` here. Raises SettingsError for a wrong setting."""
    return Lake(configuration.load(Path(home) if home else None))


def sample(home: str | Path = SAMPLE_HOME) -> Lake:
    """A small promotion day to try things on, always the same: made in a minute the first time, found the next.

    Raises PromolakeError when it cannot be made.
    """
    folder = Path(home)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "sample.lock").open("w") as lock:  # two notebooks want one sample
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = [sys.executable, "-m", "promolake.cli", "--home", str(folder), "sample"]
        made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        raise PromolakeError(f"The sample could not be made: {made.stderr.strip().splitlines()[-1]}")
    return connect(folder)
