"""Between the house's column types (Spark's DDL names) and Arrow's."""

from __future__ import annotations

import re
from functools import cache

import pyarrow as pa

from promolake.core.table import Table

_SIMPLE = {
    "string": pa.string(),
    "binary": pa.binary(),
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "timestamp": pa.timestamp("us", "UTC"),
    "array<string>": pa.list_(pa.string()),
    "array<struct<key:string,value:binary>>": pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())])),
}


def arrow_type(ddl: str) -> pa.DataType:
    decimal = re.fullmatch(r"decimal\((\d+),(\d+)\)", ddl)
    return pa.decimal128(int(decimal[1]), int(decimal[2])) if decimal else _SIMPLE[ddl]


@cache  # each commit and each read asks for it
def arrow_schema(table: Table) -> pa.Schema:
    """The table's columns in order, every one nullable, with its description."""
    return pa.schema([pa.field(c.name, arrow_type(c.type), metadata={"comment": c.description}) for c in table.columns])


def conformed(rows: pa.Table, table: Table) -> pa.Table:
    """The rows with exactly the table's columns and types; a value that does not fit raises pyarrow.ArrowInvalid."""
    rows, wanted = rows.select(list(table.column_names)), arrow_schema(table).remove_metadata()
    # Arrow casts each column, to its own type too.
    return pa.Table.from_arrays(rows.columns, schema=wanted) if rows.schema.equals(wanted) else rows.cast(wanted)
