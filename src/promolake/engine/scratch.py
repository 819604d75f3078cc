"""A DuckDB on the disk of the lake: SQL over more rows than fit in memory, thrown away afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

from promolake.core.table import Table
from promolake.engine.lakehouse import Lakehouse

MEMORY = "2GB"
"""What its rows may take in memory; what is more goes to disk. Spark's driver lives beside it."""


class Scratch:
    """Rows of a lake's tables in a DuckDB of their own, in UTC, which sees nothing but what it has taken in."""

    def __init__(self, lake: Lakehouse, place: Path, connection: duckdb.DuckDBPyConnection) -> None:
        self._lake = lake
        self._place = place
        self.connection = connection

    def take(self, name: str, table: Table, columns: Sequence[str], where: str = "") -> None:
        """Takes in columns of the rows that keep `where` as a table `name`: a batch of them after the other passes through memory."""
        self.connection.register("_incoming", self._lake.batches(table, columns, where))
        self.connection.execute(f"CREATE TABLE {name} AS SELECT * FROM _incoming")
        self.connection.unregister("_incoming")

    def written(self, query: str) -> str:
        """Where the rows of a query stand as Parquet, until the scratch is thrown away."""
        path = str(self._place / "answer.parquet")
        self.connection.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet)")
        return path

    def count(self, name: str) -> int:
        """How many rows a table has."""
        ((rows,),) = self.connection.sql(f"SELECT count(*) FROM {name}").fetchall()
        return rows


@contextmanager
def scratch(lake: Lakehouse) -> Iterator[Scratch]:
    """Opens one; its file is gone afterwards."""
    with lake.spool("scratch") as place:
        place.mkdir(parents=True)
        config = {"memory_limit": MEMORY, "python_enable_replacements": False}
        with duckdb.connect(str(place / "rows.duckdb"), config=config) as connection:
            connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
            yield Scratch(lake, place, connection)
