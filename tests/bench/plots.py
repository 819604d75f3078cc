"""The figures as one page of plots, without a server."""

from __future__ import annotations

from pathlib import Path

import plotly.graph_objects as go

from bench.results import Results, spread


def draw(results: Results, file: Path) -> None:
    figures = [*_backlog(results), *_latency(results), *_memory(results)]
    # The first figure carries the library, so that the page needs nothing from the network.
    parts = [figure.to_html(full_html=False, include_plotlyjs=n == 0) for n, figure in enumerate(figures)]
    file.write_text(f'<!doctype html><meta charset="utf-8"><title>promolake bench</title>{"".join(parts)}', encoding="utf-8")


def _backlog(results: Results) -> list[go.Figure]:
    from bench import report

    found = []
    for work, title in report.TITLES.items():
        bars = {
            engine.name: spread(report.per_cpu_second(results, engine.name, work))
            for engine in report.ENGINES
            if report.per_cpu_second(results, engine.name, work)
        }
        if bars:
            up, down = [one.high - one.median for one in bars.values()], [one.median - one.low for one in bars.values()]
            bar = go.Bar(x=[*bars], y=[one.median for one in bars.values()], error_y={"array": up, "arrayminus": down, "symmetric": False})
            found.append(go.Figure(bar, {"title": f"Events per CPU second: {title}", "yaxis": {"type": "log"}}))
    return found


def _latency(results: Results) -> list[go.Figure]:
    lines = [
        go.Scatter(x=[*one["delays"]], y=[*one["delays"].values()], name=f"{one['engine']}, {one['work']}, {one['rate']:,.0f}/s")
        for one in results.of("latency")
        if not one["wrong"] and one["delays"]
    ]
    return [go.Figure(lines, {"title": "Event to visible in gold, seconds", "yaxis": {"type": "log"}})] if lines else []


def _memory(results: Results) -> list[go.Figure]:
    lines = [
        go.Scatter(x=[at / 60 for at, _ in one["series"]], y=[size / 2**30 for _, size in one["series"]], name=one["engine"])
        for one in results.of("endurance")
    ]
    return [go.Figure(lines, {"title": "Memory of the process tree (GiB) over minutes"})] if lines else []
