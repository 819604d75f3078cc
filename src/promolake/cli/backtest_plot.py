"""The picture of a back-test: a rule's value over time, one panel for each alert that fired, the firings shaded."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from promolake.alerts.evaluating import Rows
from promolake.alerts.relations import MINUTE
from promolake.alerts.rules import Rule
from promolake.alerts.samples import Samples
from promolake.core.table import Table

PANELS = 8  # those that fired longest
_DAY = timedelta(days=1)
Series = dict[str, tuple[list[datetime], list[float | None]]]


def plotted(file: Path, rule: Rule, table: Table, low: datetime, high: datetime, rows: Rows, episodes: list[dict[str, Any]]) -> None:
    """Writes one HTML page that needs nothing from the network. `episodes` as backtesting.fired gives them. Raises OSError."""
    minutes: dict[str, int] = {}
    for one in episodes:
        minutes[one["labels"]] = minutes.get(one["labels"], 0) + one["minutes"]
    shown = sorted(minutes, key=lambda labels: (-minutes[labels], labels))[:PANELS]
    series = _series(rule, table, low, high, rows, shown)
    titles = [f"{labels or rule.alert}: {minutes[labels]:,} minutes" for labels in shown] or [f"{rule.alert} never fired"]
    figure = make_subplots(rows=len(titles), cols=1, shared_xaxes=True, subplot_titles=titles)
    for n, labels in enumerate(shown, 1):
        times, values = series[labels]
        figure.add_trace(go.Scatter(x=times, y=values, mode="lines", line={"color": "#1f4e9c", "width": 1}, name=labels), row=n, col=1)
        for one in (one for one in episodes if one["labels"] == labels):
            figure.add_vrect(one["starts_at"], one["ends_at"], fillcolor="#c0392b", opacity=0.3, line_width=0, row=n, col=1)
    figure.update_layout(title=f"{rule.alert} over {low:%F %H:%M} to {high:%F %H:%M} UTC", showlegend=False, height=220 + 180 * len(titles))
    figure.write_html(file, include_plotlyjs=True)


def _series(rule: Rule, table: Table, low: datetime, high: datetime, rows: Rows, shown: list[str]) -> Series:
    """The value in every minute that has one, a day at a time, by the alert's labels."""
    found: Series = {labels: ([], []) for labels in shown}
    samples = Samples()
    try:
        for start in (low + n * _DAY for n in range(-(-(high - low) // _DAY))):
            end = min(start + _DAY, high)
            minutes = [start + n * MINUTE for n in range(int((end - start) / MINUTE))]
            taken = rows(rule, table, minutes)
            for sample in sorted(samples.of(rule, rule.in_phase(None), table, taken, minutes), key=lambda sample: sample.window):
                labels = ", ".join(f"{name}={value}" for name, value in zip(rule.by, sample.labels, strict=True))
                if labels in found:
                    found[labels][0].append(sample.window)
                    found[labels][1].append(sample.value)
    finally:
        samples.close()
    return found
