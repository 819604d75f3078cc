"""The SQL box: one SELECT over gold and ops, within limits, for whoever may look at the screen."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from promolake.core.errors import SettingsError
from promolake.serving.formats import formatted
from promolake.serving.page.entrance import fields
from promolake.serving.page.part import Part, Role
from promolake.serving.page.rendering import render
from promolake.serving.sql import Reader

LAYERS = ("gold", "ops")
SECONDS = 10
ROWS = 1000
BYTES = 5_000_000  # of an answer
MEMORY = "256MB"
AT_ONCE = 2  # the others wait: the page shares its cores with the stream
EXAMPLE = "SELECT window_start, currency, SUM(gmv_amount) AS gmv\nFROM gold.gmv_per_minute\nGROUP BY ALL\nORDER BY window_start DESC"


def part(lake_root: Path) -> Part:
    turns = asyncio.Semaphore(AT_ONCE)

    async def asked(request: Request) -> tuple[pa.Table, float]:
        sql = (await fields(request)).get("sql", "")
        async with turns:
            began = time.monotonic()
            rows = await asyncio.to_thread(answer, lake_root, sql)
            return rows, time.monotonic() - began

    async def page(request: Request) -> Response:
        with Reader(lake_root, LAYERS) as reader:
            relations = await asyncio.to_thread(reader.tables)
        limits = {"seconds": SECONDS, "rows": ROWS}
        return render(request, "box.html", sql=request.query_params.get("sql", EXAMPLE), relations=relations, limits=limits)

    async def as_json(request: Request) -> Response:
        rows, seconds = await asked(request)
        return JSONResponse(_shown(rows) | {"seconds": round(seconds, 3)})

    async def as_csv(request: Request) -> Response:
        rows, _ = await asked(request)
        headers = {"Content-Disposition": 'attachment; filename="promolake.csv"'}
        return Response(formatted(rows.slice(0, ROWS), "csv"), media_type="text/csv; charset=utf-8", headers=headers)

    routes = [Route("/sql", page), Route("/api/sql", as_json, methods=["POST"]), Route("/api/sql.csv", as_csv, methods=["POST"])]
    return Part(Role.VIEWER, routes)


def answer(lake_root: Path, sql: str, seconds: float = SECONDS) -> pa.Table:
    """Up to ROWS + 1 rows. Raises SettingsError for what the reader refuses, and for what goes beyond the limits."""
    with Reader(lake_root, LAYERS, {"memory_limit": MEMORY, "threads": 1}) as reader:
        late = threading.Event()

        def stop() -> None:
            late.set()
            reader.interrupt()

        timer = threading.Timer(seconds, stop)
        timer.start()
        try:
            rows = reader.query(sql, ROWS + 1)
        except SettingsError:
            if late.is_set():
                raise SettingsError(f"The query was ended after {seconds:g} s.", "Ask for a shorter time span, or aggregate.") from None
            raise
        finally:
            timer.cancel()
            timer.join()
    if rows.nbytes > BYTES:
        raise SettingsError(f"The answer is larger than {BYTES / 1e6:.0f} MB.", "Ask for fewer columns or rows.")
    return rows


def _shown(rows: pa.Table) -> dict[str, Any]:
    """The answer as text, cell by cell, for a page."""
    columns = [{"name": field.name, "is_number": _is_number(field.type)} for field in rows.schema]
    first = rows.slice(0, ROWS)
    cells = [[_cell(value) for value in column.to_pylist()] for column in first.columns]
    return {"columns": columns, "rows": list(zip(*cells, strict=True)), "more": rows.num_rows > ROWS}


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def _cell(value: Any) -> str | None:
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    return None if value is None else str(value)
