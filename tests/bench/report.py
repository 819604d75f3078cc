"""The report: tables in Markdown of what has been measured so far, and plots. Only runs whose result is the truth have figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from bench.engines import ENGINES
from bench.engines.engine import Engine
from bench.goals import judged
from bench.plots import draw
from bench.results import Record, Results, Spread, spread
from promolake.whole_file import write_whole

TITLES = {"common": "bronze, GMV, product sales and requests per IP, per minute", "all": "all six topics, all tables"}
BACKLOG = ("engine", "scored", "events", "events per CPU-s", "CPU-us an event", "beyond start-up", "events/s", "start-up", "peak memory")
LATENCY = ("engine", "work", "load", "p50 s", "p95 s", "p99 s", "max s", "marks", "ready after", "CPU-s a second", "peak memory")
FEW = 3_000
"""Records of the smallest dataset: what an engine costs when there is next to nothing to do."""


def write(results: Results) -> str:
    """Writes report.md and plots.html beside the results; returns the Markdown."""
    parts = [part(results) for part in (_head, _backlog, _latency, _bursts, _scaling, _endurance, _goals)]
    text = "\n".join(part for part in parts if part) + "\n"
    write_whole(results.directory / "report.md", text)
    draw(results, results.directory / "plots.html")
    return text


def marginal(results: Results, engine: str, work: str) -> list[float]:
    """CPU microseconds per event beyond what a run over a handful of events takes, over the dataset all engines are given."""
    costs = (beyond_start(results, one) for one in _base(results, engine, work))
    return [cost for cost in costs if cost is not None]


def beyond_start(results: Results, run: Record) -> float | None:
    """CPU microseconds per event of a backlog run beyond what one over a handful of events takes; None when that was not measured."""
    few = _scored(results.of("backlog", engine=run["engine"], work=run["work"], records=FEW))
    return (run["cpu_s"] - median(one["cpu_s"] for one in few)) / run["events"] * 1e6 if few else None


def per_cpu_second(results: Results, engine: str, work: str) -> list[float]:
    return [one["events"] / one["cpu_s"] for one in _base(results, engine, work)]


def _base(results: Results, engine: str, work: str) -> list[Record]:
    """The scored runs over the dataset all engines are given."""
    sizes = {one["records"] for one in results.of("backlog", engine=engine, work=work, keys=1)} - {FEW}
    return _scored(results.of("backlog", engine=engine, work=work, records=min(sizes), keys=1)) if sizes else []


def _scored(records: Iterable[Record]) -> list[Record]:
    return [one for one in records if not one["wrong"]]


def _head(results: Results) -> str:
    lines = ["# promolake and what users would pick instead", ""]
    for machine in results.of("machine"):
        lines += [f"- {name}: {value}" for name, value in machine.items()]
    loads = [one["load_before"] for measure in ("backlog", "latency") for one in results.of(measure)]
    if loads:
        lines.append(f"- load of the machine before each run (1 minute): median {spread(loads).median:.1f}, at most {max(loads):.1f}")
    lines += ["", "One broker, one seeded day (clean: peers do not cleanse), engines one after another in turning order, from nothing."]
    lines += ["A run whose tables differ from what was sent has no score. Figures are medians, with least and most in brackets.", ""]
    return "\n".join(lines + [f"- **{engine.name}** keeps {engine.keeps}." for engine in ENGINES] + [""])


def _backlog(results: Results) -> str:
    parts = []
    for work, title in TITLES.items():
        rows = [_backlog_row(results, engine, work) for engine in ENGINES if results.of("backlog", engine=engine.name, work=work)]
        if rows:
            parts.append(f"## Backlog: {title}\n\n{_table(BACKLOG, rows)}")
    return "\n\n".join(parts) + "\n\nStart-up is a run over a handful of events: wall time, and CPU time in brackets.\n" if parts else ""


def _backlog_row(results: Results, engine: Engine, work: str) -> list[str]:
    every = [one for one in results.of("backlog", engine=engine.name, work=work) if one["records"] != FEW and one["keys"] == 1]
    scored = _base(results, engine.name, work)
    start = _scored(results.of("backlog", engine=engine.name, work=work, records=FEW))
    begun = f"{start[0]['wall_s']:.1f} s ({start[0]['cpu_s']:.1f} s)" if start else "-"
    if not scored:
        why = next((f"no score: {line}" for one in every for line in one["wrong"]), "not measured")
        return [engine.name, f"0 of {len(every)}", why.replace("\n", " ")[:130], "", "", "", "", begun, ""]
    return [
        engine.name,
        f"{len(scored)} of {len([one for one in every if one['records'] == scored[0]['records']])}",
        f"{scored[0]['events']:,}",
        _shown(spread(per_cpu_second(results, engine.name, work)), "{:,.0f}"),
        _shown(spread([one["cpu_s"] / one["events"] * 1e6 for one in scored]), "{:.1f}"),
        _shown(spread(marginal(results, engine.name, work)), "{:.1f}"),
        _shown(spread([one["events"] / one["wall_s"] for one in scored]), "{:,.0f}"),
        begun,
        f"{max(one['peak_memory'] for one in scored) / 2**30:.2f} GiB",
    ]


def _latency(results: Results) -> str:
    rows = []
    for one in sorted(results.of("latency"), key=lambda record: (record["work"], record["rate"], record["engine"])):
        figures = [f"{one['delays'][name]:.2f}" for name in ("p50", "p95", "p99", "max")] if one["delays"] else ["-"] * 4
        if one["wrong"]:
            figures = ["no score: " + one["wrong"][0][:100], "", "", ""]
        rest = [str(one["marks"]), f"{one['start_s']:.1f} s", f"{one['cpu_per_s']:.2f}", f"{one['peak_memory'] / 2**30:.2f} GiB"]
        rows.append([one["engine"], one["work"], f"{one['rate']:,.0f}/s", *figures, *rest])
    if not rows:
        return ""
    return (
        f"## Event to visible in gold\n\n{_table(LATENCY, rows)}\n\nFrom the intended time of sending to the sum of sales showing it, "
        "by a reader that only opens the table. Load over all six topics, whatever the work reads.\n"
    )


def _bursts(results: Results) -> str:
    rows = [
        [one["engine"], one["work"], f"{one['events']:,}", f"{one['seconds']:.2f} s" if one["events"] else "-", f"{one['cpu_s']:.2f} s"]
        for one in sorted(results.of("bursts"), key=lambda record: (record["work"], record["engine"], record["events"]))
    ]
    names = ("engine", "work", "events at once", "until visible", "CPU beyond idle (0 events: of an idle second)")
    return f"## Fixed cost of a batch\n\n{_table(names, rows)}\n" if rows else ""


def _scaling(results: Results) -> str:
    rows = []
    order = ("work", "engine", "keys", "records")
    scored = [one for one in _scored(results.of("backlog")) if one["records"] != FEW]
    for one in sorted(scored, key=lambda record: [record[name] for name in order]):
        sizes = {(other["records"], other["keys"]) for other in scored if all(other[name] == one[name] for name in order[:2])}
        if len(sizes) > 1:
            each, beyond = one["cpu_s"] / one["events"] * 1e6, beyond_start(results, one)
            costs = [f"{each:.1f}", "-" if beyond is None else f"{beyond:.1f}"]
            rows.append([one["engine"], one["work"], f"{one['events']:,}", f"{one['keys']}x", *costs])
    names = ("engine", "work", "events", "keys", "CPU-us an event", "beyond start-up")
    return f"## More data, more keys\n\n{_table(names, rows)}\n" if rows else ""


def _endurance(results: Results) -> str:
    rows = [
        [
            one["engine"],
            f"{one['minutes']:.0f}",
            f"{one['batches']:,}",
            f"{one['drift']:.2f}" if one["drift"] else "-",
            f"{one['memory_slope']:+.1%}",
            f"{one['memory'] / 2**30:.2f} GiB",
            " ".join(f"{size / 1e6:.0f}" for size in one.get("state", [])) or "-",
            *["no score: " + one["wrong"][0][:100] if one["wrong"] else _by_five(one["delays"], share) for share in ("p50", "p99")],
        ]
        for one in results.of("endurance")
    ]
    names = ("engine", "minutes", "batches", "late batches over early ones", "memory, per 10 minutes after warm-up", "memory at the end")
    names += ("state on disk in MB, by five minutes", "p50 s, by five minutes", "p99 s, by five minutes")
    return f"## Endurance\n\n{_table(names, rows)}\n" if rows else ""


def _by_five(parts: Sequence[dict[str, float]], share: str) -> str:
    return " ".join(f"{part[share]:.2f}" if part else "-" for part in parts)


def _goals(results: Results) -> str:
    rows = []
    for goal in judged(results):
        rows.append([goal.what, goal.wanted, "not measured" if goal.found is None else f"{goal.found:.2f}", goal.verdict])
    return f"## Against the goals\n\n{_table(('figure', 'goal', 'found', ''), rows)}"


def _shown(spread: Spread | None, form: str) -> str:
    if spread is None:
        return "-"
    return form.format(spread.median) + (f" ({form.format(spread.low)} to {form.format(spread.high)})" if spread.low != spread.high else "")


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines)
