"""Spark's HLL functions in DuckDB: its sketches are Apache DataSketches' own, so that library reads and unites them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import duckdb

_UNION_AGG = "CREATE MACRO hll_union_agg(sketch) AS _hll_union(COALESCE(LIST(sketch) FILTER (WHERE sketch IS NOT NULL), []))"


def install(connection: duckdb.DuckDBPyConnection) -> None:
    """Gives the connection `hll_union_agg(binary) -> binary` and `hll_sketch_estimate(binary) -> bigint` as Spark has them."""
    connection.create_function("hll_sketch_estimate", _estimate, ["BLOB"], "BIGINT")
    connection.create_function("_hll_union", _union, ["BLOB[]"], "BLOB")
    connection.execute(_UNION_AGG)


# datasketches takes 0.3 s to import, which a query without a sketch need not wait for.


def _estimate(sketch: bytes) -> int:
    from datasketches import hll_sketch

    return math.floor(hll_sketch.deserialize(sketch).get_estimate() + 0.5)  # Java's Math.round


def _union(sketches: Sequence[bytes]) -> bytes:
    from datasketches import HLL_8, hll_sketch, hll_union

    read = [hll_sketch.deserialize(sketch) for sketch in sketches]
    union = hll_union(max((sketch.lg_config_k for sketch in read), default=_EMPTY_BITS))
    for sketch in read:
        union.update(sketch)
    return union.get_result(HLL_8).serialize_updatable()


_EMPTY_BITS = 12  # of a union of nothing, as in Spark
