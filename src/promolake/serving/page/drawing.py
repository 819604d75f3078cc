"""The hallway as a picture: topics ==> bronze ==> silver ==> gold ==> views, drawn from the flows themselves and from nothing else.

SVG with classes instead of styles (static/hallway.css paints it, light and dark), and with its content in words for who cannot see it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from xml.etree import ElementTree as Xml

from promolake.core.flow import Forward, Hallway, Join, Metric

WIDTHS = {"topic": 142, "bronze": 156, "silver": 210, "gold": 222, "view": 186}
GAPS = {"topic": 34, "bronze": 34, "silver": 72, "gold": 62, "view": 0}
TOP, LANE, BOX, SMALL, MARGIN = 48, 96, 40, 32, 10
WORDS = {
    "title": "The hallway",
    "topic": "Kafka topics",
    "bronze": "bronze: raw bytes",
    "silver": "silver: valid, once, masked",
    "gold": "gold: one row per grain",
    "view": "views",
    "quarantine": "each row with every rule it broke",
    "forward": "Kafka topic",
    "alerts": "alerts",
    "rules": "rules, in every micro-batch",
    "reads": "from",
}


@dataclass(frozen=True)
class View:
    """A view by name and the tables it reads."""

    name: str
    reads: Collection[str]


@dataclass(frozen=True)
class _Box:
    name: str
    kind: str
    label: str
    x: float
    y: float
    width: float
    height: float
    reads: tuple[str, ...] = ()

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


def drawing(
    hallway: Hallway,
    views: Iterable[View],
    notes: Mapping[str, str] | None = None,
    marks: Mapping[str, str] | None = None,
    words: Mapping[str, str] = WORDS,
    style: str = "",
) -> str:
    """The picture as one `<svg>` element.

    `notes` has the second line of a box by the name of its topic, table, forward or view (by default how it is written); `marks` a
    state of it, which becomes a class (`stopped`, `old`). `words` are WORDS in another language. `style` makes it stand alone.
    """
    views = tuple(views)
    boxes, height = _boxes(hallway, views)
    notes = _plain(hallway, views, words) | dict(notes or {})
    width = sum(WIDTHS.values()) + sum(GAPS.values()) + 2 * MARGIN
    size = {"viewBox": f"0 0 {width} {height:.0f}", "role": "img", "aria-labelledby": "hallway-title hallway-words"}
    root = Xml.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "class": "hallway", **size})
    Xml.SubElement(root, "title", id="hallway-title").text = words["title"]
    Xml.SubElement(root, "desc", id="hallway-words").text = _in_words(boxes.values(), notes, words)
    if style:
        Xml.SubElement(root, "style").text = f"\n{style}"
    _headings(root, words)
    for box in boxes.values():
        for source in box.reads:
            _edge(root, boxes[source], box)
    for box in boxes.values():
        _draw(root, box, notes[box.name], (marks or {}).get(box.name, ""))
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode")


# --- what stands where ---------------------------------------------------------------------------------------------------------------


def _boxes(hallway: Hallway, views: Sequence[View]) -> tuple[dict[str, _Box], float]:
    """Every box by name, in the order of reading, and the height of the whole; columns follow the lanes they read, to cross less."""
    found: dict[str, _Box] = {}
    for lane, flow in enumerate(hallway.ingests):
        y = TOP + lane * LANE
        found[flow.topic.name] = _box(flow.topic.name, "topic", flow.topic.name, y)
        found[flow.bronze.name] = _box(flow.bronze.name, "bronze", flow.bronze.short, y, (flow.topic.name,))
        found[flow.table.name] = _box(flow.table.name, "silver", flow.table.short, y, (flow.bronze.name,))
        found[flow.quarantine.name] = _box(flow.quarantine.name, "quarantine", flow.quarantine.short, y + BOX + 8, (flow.bronze.name,))
    height = float(LANE * len(hallway.ingests))
    gold: list[Metric | Join | Forward] = [*hallway.metrics, *hallway.joins, *hallway.forwards]
    _stack(found, [(_kind(flow), _name(flow), _label(flow), _reads(flow)) for flow in gold], height)
    known = [(("view"), view.name, view.name.split(".")[-1], tuple(sorted({*view.reads} & found.keys()))) for view in views]
    _stack(found, known, height - LANE)
    if hallway.metrics:
        last = _box("alerts", "alerts", "ops.alerts", TOP + height - LANE + (LANE - BOX) / 2, tuple(f.table.name for f in hallway.metrics))
        found["alerts"] = last
    return found, TOP + height


def _stack(found: dict[str, _Box], column: Sequence[tuple[str, str, str, tuple[str, ...]]], height: float) -> None:
    """Puts a column's boxes under each other, each near the middle of what it reads; those that read nothing drawn come last."""
    order = sorted(column, key=lambda one: fmean(found[name].middle for name in one[3]) if one[3] else float("inf"))
    step = height / max(len(order), 1)
    for n, (kind, name, label, reads) in enumerate(order):
        found[name] = _box(name, kind, label, TOP + n * step + (step - BOX) / 2 - 8, reads)


def _box(name: str, kind: str, label: str, y: float, reads: tuple[str, ...] = ()) -> _Box:
    column = {"quarantine": "silver", "join": "gold", "forward": "gold", "alerts": "view"}.get(kind, kind)
    before = list(WIDTHS)[: list(WIDTHS).index(column)]
    x = MARGIN + sum(WIDTHS[one] + GAPS[one] for one in before)
    return _Box(name, kind, label, x, y, WIDTHS[column], SMALL if kind == "quarantine" else BOX, reads)


def _kind(flow: Metric | Join | Forward) -> str:
    return "forward" if isinstance(flow, Forward) else "join" if isinstance(flow, Join) else "gold"


def _name(flow: Metric | Join | Forward) -> str:
    return flow.name if isinstance(flow, Forward) else flow.table.name


def _label(flow: Metric | Join | Forward) -> str:
    return flow.topic if isinstance(flow, Forward) else flow.table.short


def _reads(flow: Metric | Join | Forward) -> tuple[str, ...]:
    return (flow.reads.name,) if isinstance(flow, Forward) else tuple(reads.table.name for reads in flow.reads)


def _plain(hallway: Hallway, views: Iterable[View], words: Mapping[str, str]) -> dict[str, str]:
    """What the boxes say when there is no figure for them, by name."""
    said = {flow.topic.name: flow.topic.codec for flow in hallway.ingests} | {table.name: str(table.written) for table in hallway.tables}
    said |= {flow.quarantine.name: words["quarantine"] for flow in hallway.ingests}
    said |= {flow.name: words["forward"] for flow in hallway.forwards}
    said |= {view.name: f"{words['reads']} {', '.join(sorted(map(_short, view.reads)))}" for view in views}
    return said | {"alerts": words["rules"]}


def _short(name: str) -> str:
    return name.split(".")[-1].removesuffix("_per_minute")


def _in_words(boxes: Iterable[_Box], notes: Mapping[str, str], words: Mapping[str, str]) -> str:
    """One sentence a box: what it is, what stands in it, what it is made from."""
    said = []
    for box in boxes:
        reads = f" ({words['reads']} {', '.join(box.reads)})" if box.reads else ""
        name = words["alerts"] if box.kind == "alerts" else box.name
        said.append(f"{name}{reads}{': ' if notes[box.name] else ''}{notes[box.name]}.")
    return " ".join(said)


# --- the lines -----------------------------------------------------------------------------------------------------------------------


def _headings(root: Xml.Element, words: Mapping[str, str]) -> None:
    x = float(MARGIN)
    for column, width in WIDTHS.items():
        Xml.SubElement(root, "text", {"class": "heading", "x": f"{x:.0f}", "y": "24"}).text = words[column]
        x += width + GAPS[column]


def _edge(root: Xml.Element, source: _Box, target: _Box) -> None:
    """Kafka and the scan are double lines (==>), what is only read is a single one."""
    x1, x2, y1, y2 = source.x + source.width, target.x, source.middle, target.middle
    bend = (x2 - x1) / 2
    path = f"M{x1:.0f} {y1:.1f}C{x1 + bend:.0f} {y1:.1f} {x2 - bend:.0f} {y2:.1f} {x2:.0f} {y2:.1f}"
    Xml.SubElement(root, "path", {"class": f"edge to-{target.kind}", "d": path})
    Xml.SubElement(root, "path", {"class": "tip", "d": f"M{x2 - 6:.0f} {y2 - 4:.1f}L{x2:.0f} {y2:.1f}L{x2 - 6:.0f} {y2 + 4:.1f}"})


def _draw(root: Xml.Element, box: _Box, note: str, mark: str) -> None:
    group = Xml.SubElement(root, "g", {"class": f"box {box.kind} {mark}".strip()})
    place = {"x": f"{box.x:.0f}", "y": f"{box.y:.1f}", "width": f"{box.width:.0f}", "height": f"{box.height:.0f}", "rx": "5"}
    Xml.SubElement(group, "rect", place)
    down = (13, 26) if box.height == SMALL else (17, 32)
    x = f"{box.x + 9:.0f}"
    Xml.SubElement(group, "text", {"class": "name", "x": x, "y": f"{box.y + down[0]:.1f}"}).text = box.label
    Xml.SubElement(group, "text", {"class": "note", "x": x, "y": f"{box.y + down[1]:.1f}"}).text = note
