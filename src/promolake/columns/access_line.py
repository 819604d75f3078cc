"""One line of an access log, Apache or nginx, common or combined format, taken apart by a single regular expression."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

from promolake.columns.text import without

PARTS = ("ip", "time", "request", "status", "bytes", "referrer", "agent")
_MARK = "\x01"
# Apache mod_log_config, "combined": %h %l %u [%t] "%r" %>s %b "%{Referer}i" "%{User-agent}i"; quotes inside are escaped by a backslash.
# Possessive quantifiers: a hostile line must neither backtrack for seconds nor overflow the stack.
_QUOTED = r'"([^"\\]*+(?:\\.[^"\\]*+)*+)"'
_LINE = rf"(?s)^(\S++) \S++ [^\[]*+\[([^\]]++)\] {_QUOTED} (\d{{3}}) (\d++|-)(?: {_QUOTED} {_QUOTED})?(?: .*+)?\s*+$"
_ASSET = r"(?i)\.(png|jpg|jpeg|gif|ico|css|js|woff|ttf|svg|eot|map)$"


def parts(line: Column) -> Column:
    """The line as an array of `PARTS` texts; an array of one element where the line has another shape."""
    marked = F.regexp_replace(without(line, _MARK), _LINE, _MARK.join(f"${n}" for n in range(1, len(PARTS) + 1)))
    return F.split(marked, _MARK)


def fields(parts: Column) -> dict[str, Column]:
    """The promised texts of `parts(line)`, NULL where absent; `event_time` is a timestamp already."""
    part = {name: _present(name, F.get(parts, F.lit(n))) for n, name in enumerate(PARTS)}
    words = F.split(part["request"], " ")
    is_request = part["request"].rlike(r"^[A-Z]+ \S+( HTTP/[\d.]+)?$")
    return {
        "ip": part["ip"],
        "event_time": F.try_to_timestamp(part["time"], F.lit("dd/MMM/yyyy:HH:mm:ss Z")),
        "event_time_text": part["time"],
        "method": F.when(is_request, F.get(words, F.lit(0))),
        "path": F.when(is_request, F.get(words, F.lit(1))).otherwise(part["request"]),
        "status": part["status"],
        "bytes": F.when(part["bytes"] == "-", "0").otherwise(part["bytes"]),
        "referrer": part["referrer"],
        "agent": part["agent"],
    }


def problem(parts: Column) -> Column:
    return F.when(F.size(parts) != len(PARTS), "malformed_line")


def is_page_view(method: Column, path: Column, status: Column) -> Column:
    """A page a person looked at: a GET answered 200 whose path, without its query, is no image, style, script, font or map."""
    return (method == "GET") & (status == 200) & ~F.substring_index(path, "?", 1).rlike(_ASSET)


def _present(name: str, part: Column) -> Column:
    """`-` means absent, except for bytes, where it means none."""
    return part if name == "bytes" else F.when((part != "") & (part != "-"), part)
