"""What the pages load: the files of static/ and plotly.min.js out of the plotly wheel, compressed once and cached by their content."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cache
from importlib import resources, util
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from promolake.serving.page.part import Part, Role

PLOTLY = "plotly.min.js"


@dataclass(frozen=True)
class Asset:
    """A file as it is sent: gzip-compressed, `tag` from its content."""

    compressed: bytes
    kind: str
    tag: str


def part() -> Part:
    return Part(Role.ANYONE, [Route("/static/{name}", _sent)])


def address(name: str) -> str:
    """Where a page finds the file; changes with its content."""
    return f"/static/{name}?v={_asset(name).tag}"


async def _sent(request: Request) -> Response:
    try:
        asset = _asset(request.path_params["name"])
    except FileNotFoundError:
        raise HTTPException(404) from None
    fresh = request.query_params.get("v") == asset.tag
    headers = {
        "ETag": f'"{asset.tag}"',
        "Cache-Control": "public, max-age=31536000, immutable" if fresh else "no-cache",
        "Vary": "Accept-Encoding",
    }
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(asset.compressed, media_type=asset.kind, headers=headers | {"Content-Encoding": "gzip"})
    return Response(gzip.decompress(asset.compressed), media_type=asset.kind, headers=headers)


@cache
def _asset(name: str) -> Asset:
    """Raises FileNotFoundError for a name that is none of these files."""
    content = _path(name).read_bytes()
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Asset(gzip.compress(content, 6, mtime=0), kind, hashlib.sha256(content).hexdigest()[:16])


def _path(name: str) -> Path:
    if name == PLOTLY:
        (directory,) = util.find_spec("plotly").submodule_search_locations  # importing it takes half a second
        return Path(directory) / "package_data" / PLOTLY
    there = {Path(str(file)).name: Path(str(file)) for file in (resources.files("promolake.serving.page") / "static").iterdir()}
    if name not in there:
        raise FileNotFoundError(name)
    return there[name]
