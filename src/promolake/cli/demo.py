"""The whole thing with one command: broker, promotion day, flows; a live table; then a comparison of what was sent with what gold holds."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table as Grid

from promolake import settings as configuration
from promolake.cli import app, out, say
from promolake.cli.agreement import Figures, compared, held, promised
from promolake.cli.freshness import GoldWatch, quantile
from promolake.cli.reporting import TopicReport, topics
from promolake.cli.serving import PORT, free_port
from promolake.core.errors import FlowFailed, NumbersDiffer
from promolake.engine.lakehouse import Lakehouse
from promolake.gold import gmv_per_minute
from promolake.local.processes import Child
from promolake.local.reaching import reachable

READY_SECONDS = 300
DRAIN_SECONDS = 120
SCREEN_SECONDS = 2.0  # between two looks: each reads the tables, on the cores the flows need
WARM_UP_SECONDS = 15  # of sending, left out of the latencies: a cold JVM says nothing about the day


@app.command()
def demo(
    context: typer.Context,
    minutes: Annotated[float | None, typer.Option(help="End by itself after so long. [default: until Ctrl-C]")] = None,
    rate: Annotated[float, typer.Option(help="Messages a second.", min=1)] = 1000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same promotion day.")] = 11,
) -> None:
    """Run a promotion day: a real Kafka broker, a seeded shop, all flows, live figures, and a proof at the end that they agree."""
    settings = configuration.load(context.obj)
    configuration.writable_home(settings)
    (settings.home / "log").mkdir(exist_ok=True)
    stop = threading.Event()
    with _interrupted(stop), reachable(settings, say) as bootstrap, ExitStack() as children:
        Demo(settings, bootstrap, stop, children).play(minutes, rate, seed)


class Demo:
    """The parts of one demo. The order of their ends matters: first the sender, then the flows, then (outside) the broker."""

    def __init__(self, settings: configuration.Settings, bootstrap: str, stop: threading.Event, children: ExitStack) -> None:
        self._settings = settings
        self._bootstrap = bootstrap
        self._stop = stop
        self._children = children
        self._lake = Lakehouse(settings.lake)
        self._report = settings.home / "simulation.json"

    def play(self, minutes: float | None, rate: float, seed: int) -> None:
        began = time.time()
        say(f"live page: http://localhost:{self._serve()}/")
        flows = self._start("run")
        self._until_ready(flows)
        if self._stop.is_set():
            return
        before = held(self._lake)
        watch = GoldWatch(self._settings.lake / "gold" / gmv_per_minute.TABLE.short)
        self._children.callback(watch.close)
        self._report.unlink(missing_ok=True)
        started = time.time()
        sender = self._start("simulate", "--rate", str(rate), "--seed", str(seed))
        with Live(console=out, refresh_per_second=4, transient=True) as live:
            while not self._stop.wait(SCREEN_SECONDS) and (minutes is None or time.time() - started < minutes * 60):
                self._alive(flows, sender)
                live.update(self._screen(watch, before, started))
            sender.stop()
            self._drain(flows, live, watch, before, started)
        memory = _peak_memory(flows.process.pid)
        if (code := flows.stop(60)) != 0:
            raise FlowFailed(f"The flows ended with exit code {code}.", f"See {self._log('run')}.")
        self._summary(watch, before, started, began, memory)

    def _start(self, command: str, *options: str) -> Child:
        line = [sys.executable, "-m", "promolake.cli", "--home", str(self._settings.home), command, *options]
        environment = dict(os.environ) | {"PROMOLAKE_KAFKA__BOOTSTRAP": self._bootstrap}
        child = Child(line, self._log(command), tied=True, env=environment)
        self._children.callback(child.stop)
        return child

    def _serve(self) -> int:
        """Starts the live page, on another port where the usual one is taken; returns the port."""
        port = free_port(PORT)
        self._start("serve", "--port", str(port))
        return port

    def _log(self, command: str) -> Path:
        return self._settings.home / "log" / f"{command}.log"

    def _until_ready(self, flows: Child) -> None:
        """Waits until the flows say that they run."""
        log, deadline = self._log("run"), time.monotonic() + READY_SECONDS
        mark = log.stat().st_size if log.exists() else 0
        with out.status("starting Spark and warming the flows up (about half a minute)"):
            while not self._stop.wait(0.2):
                with log.open("rb") as text:
                    text.seek(max(0, mark - 1))
                    if b"running " in text.read():
                        return
                self._alive(flows)
                if time.monotonic() > deadline:
                    raise FlowFailed("The flows did not start.", f"See {log}.")

    def _alive(self, *children: Child) -> None:
        for child in children:
            if child.exit_code not in (None, 0):
                raise FlowFailed(f"A part of the demo ended with exit code {child.exit_code}.", f"See {self._settings.home / 'log'}.")

    def _drain(self, flows: Child, live: Live, watch: GoldWatch, before: Figures, started: float) -> None:
        """Waits until every record sent has been read."""
        deadline = time.monotonic() + DRAIN_SECONDS
        while time.monotonic() < deadline:
            self._alive(flows)
            if all(topic.lag == 0 for topic in topics(self._lake, self._bootstrap)):
                return
            live.update(self._screen(watch, before, started))
            time.sleep(0.2)
        say("the flows are still behind; comparing what they have done")

    def _screen(self, watch: GoldWatch, before: Figures, started: float) -> Group:
        now = held(self._lake)
        delays = self._delays(watch, before, started)
        figures = Grid("figure", "in gold", title=f"gold after {time.time() - started:.0f} s", title_justify="left")
        for name in sorted(now):
            if name.startswith(("gmv_amount", "refund_amount", "order_count")) or name in (
                "request_count",
                "page_view_count",
                "error_count",
            ):
                figures.add_row(name, f"{now[name] - before.get(name, 0):,}")
        p50, p99 = quantile(delays, 0.5), quantile(delays, 0.99)
        if p50 is not None and p99 is not None:
            figures.add_row("event -> gold p50, p99", f"{p50:.2f} s, {p99:.2f} s")
        return Group(_topic_grid(topics(self._lake, self._bootstrap)), figures)

    def _delays(self, watch: GoldWatch, before: Figures, started: float) -> list[float]:
        sales = Path(f"{self._report}.sales.csv")
        baseline = int(sum(value for name, value in before.items() if name.startswith("sale_count")))
        return watch.delays(sales, baseline, started + WARM_UP_SECONDS) if sales.exists() else []

    def _summary(self, watch: GoldWatch, before: Figures, started: float, began: float, memory: int) -> None:
        report: dict[str, Any] = json.loads(self._report.read_text())
        rows = compared(promised(report["truth"]), before, held(self._lake))
        grid = Grid("figure", "sent", "gold", "", title=f"{report['sent']:,} messages sent", title_justify="left")
        for row in rows:
            grid.add_row(row.figure, f"{row.sent:,}", f"{row.gold:,}", "[green]agrees[/green]" if row.agrees else "[red]DIFFERS[/red]")
        out.print(_topic_grid(topics(self._lake, self._bootstrap)), grid)
        delays = self._delays(watch, before, started)
        if delays:
            p50, p99 = quantile(delays, 0.5), quantile(delays, 0.99)
            marks = f"{len(delays)} marks after {WARM_UP_SECONDS} s of warm-up"
            out.print(f"event -> gold, seen from outside: p50 {p50:.2f} s, p99 {p99:.2f} s ({marks})")
        if watch.first_row_at:
            since = watch.first_row_at - started
            out.print(f"first sale in gold {watch.first_row_at - began:.0f} s after the start, {since:.0f} s after the first message")
        out.print(f"driver's peak memory {memory / 2**30:.2f} GiB (Python and JVM)")
        out.print(f'ask it: promolake --home {self._settings.home} sql "SELECT * FROM gold.top_products"', soft_wrap=True)
        if not report["finished"] or not all(row.agrees for row in rows):
            raise NumbersDiffer("Gold does not hold what was sent.", f"See the rows above and {self._settings.home / 'log'}.")
        out.print("[green]gold holds exactly what was sent[/green]")


def _topic_grid(found: list[TopicReport]) -> Grid:
    grid = Grid("topic", "lag", "read", "valid", "quarantined", "duplicate", title="topics", title_justify="left")
    for topic in found:
        figures = (topic.lag, topic.read, topic.valid, topic.quarantined, topic.duplicate)
        grid.add_row(topic.topic, *("?" if n is None else f"{n:,}" for n in figures))
    return grid


@contextmanager
def _interrupted(stop: threading.Event) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the demo in order instead of tearing it down."""
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _peak_memory(pid: int) -> int:
    """The most memory (bytes) a process and its children have held, as the kernel kept it (proc(5), VmHWM)."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        except OSError:  # ended meanwhile
            continue
        if int(fields["Pid"]) == pid or int(fields["PPid"]) == pid:
            total += int(fields.get("VmHWM", "0 kB").split()[0]) * 1024
    return total
