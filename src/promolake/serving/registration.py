"""The same tables and views in a Spark session, so that the SQL of the command line works there word for word."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from promolake.core.errors import SettingsError
from promolake.serving import catalog

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def registered(spark: SparkSession, lake_root: Path, layers: Sequence[str] = catalog.LAYERS) -> list[str]:
    """Names the lake's tables of the layers in the session's catalog and creates the views over them; returns their names.

    The tables are external: dropping one, or its database, leaves its files. What holds personal data in clear is not named.
    A view whose tables are not there yet is left out. Raises SettingsError when the session is not in UTC, or when a name
    belongs to a table the catalog itself owns.
    """
    zone = spark.conf.get("spark.sql.session.timeZone")
    if zone != "UTC":
        raise SettingsError(f"The Spark session is in {zone}: days and hours would be cut there.", "Set spark.sql.session.timeZone to UTC.")
    tables = {name: path for name, path in catalog.tables(lake_root).items() if name.partition(".")[0] in layers}
    for database in sorted({name.partition(".")[0] for name in tables} | {"gold"}):
        # A directory of its own: dropping a database deletes its directory, which must not be the lake's.
        location = (lake_root / ".databases" / database).absolute().as_uri()
        spark.sql(f"CREATE DATABASE IF NOT EXISTS {database} LOCATION '{_quoted(location)}'")
    for name, path in tables.items():
        _refuse_to_replace_owned(spark, name)
        spark.sql(f"DROP TABLE IF EXISTS {name}")
        spark.sql(f"CREATE TABLE {name} USING DELTA LOCATION '{_quoted(str(path.absolute()))}'")
    views = [view for view in catalog.views().values() if view.reads <= tables.keys()]
    for view in views:
        spark.sql(f"CREATE OR REPLACE VIEW {view.name} AS {view.text}")
    return [*tables, *(view.name for view in views)]


def _refuse_to_replace_owned(spark: SparkSession, name: str) -> None:
    if spark.catalog.tableExists(name) and spark.catalog.getTable(name).tableType == "MANAGED":
        raise SettingsError(f"The catalog has a table {name} of its own.", "Use a session with an empty catalog.")


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")
