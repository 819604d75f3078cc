"""The operations page: how every flow stands, what was refused, whom the alerts told, silences; and /metrics for Prometheus."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from promolake.core.errors import SettingsError
from promolake.core.flow import Hallway
from promolake.serving import catalog
from promolake.serving.page import metrics
from promolake.serving.page.drawing import WORDS, View, drawing
from promolake.serving.page.entrance import fields
from promolake.serving.page.outside import Silencing
from promolake.serving.page.part import Part, Role
from promolake.serving.page.rendering import language, render, words
from promolake.serving.page.saying import Saying
from promolake.serving.page.sentences import said
from promolake.serving.page.standing import Standing, Standings
from promolake.serving.page.truths import truths

EMPTY_FORM = {"matchers": "", "length": "1h", "comment": "", "by": ""}


def parts(hallway: Hallway, standings: Standings, silencing: Silencing) -> list[Part]:
    """GET /operations, /operations/now (what changes of it) and /metrics for viewers; POST /operations/silences[/end] for operators."""
    page = _Page(hallway, standings, silencing)
    looking = [Route("/operations", page.whole), Route("/operations/now", page.now), Route("/metrics", page.metrics)]
    doing = [
        Route("/operations/silences", page.add_silence, methods=["POST"]),
        Route("/operations/silences/end", page.end_silence, methods=["POST"]),
    ]
    return [Part(Role.VIEWER, looking), Part(Role.OPERATOR, doing)]


@dataclass(frozen=True)
class _Page:
    hallway: Hallway
    standings: Standings
    silencing: Silencing

    async def whole(self, request: Request) -> Response:
        return await self._rendered(request, "operations.html")

    async def now(self, request: Request) -> Response:
        return await self._rendered(request, "operations_now.html")

    async def metrics(self, request: Request) -> Response:
        standing = await run_in_threadpool(self.standings.now)
        return Response(metrics.exposed(standing), media_type=CONTENT_TYPE_LATEST)

    async def add_silence(self, request: Request) -> Response:
        form = await fields(request)
        matchers = [line.strip() for line in form.get("matchers", "").splitlines() if line.strip()]
        who = form.get("by", "").strip() or "operator"

        def add() -> None:
            self.silencing.add(matchers, form.get("length", "").strip(), form.get("comment", "").strip(), who)

        return await self._done(request, add, form)

    async def end_silence(self, request: Request) -> Response:
        form = await fields(request)
        return await self._done(request, lambda: self.silencing.end(form.get("id", "")), {})

    async def _done(self, request: Request, act: Callable[[], None], form: Mapping[str, str]) -> Response:
        """Back to the page; with what was typed and a sentence when it is refused."""

        def done() -> None:
            act()
            self.standings.forget()

        try:
            await run_in_threadpool(done)
        except SettingsError as error:
            return await self._rendered(request, "operations.html", 400, form, said(error, language(request)))
        return RedirectResponse("/operations#silences", 303)

    async def _rendered(
        self, request: Request, template: str, status: int = 200, form: Mapping[str, str] | None = None, refused: str = ""
    ) -> Response:
        role = await request.app.state.access.role(request)
        standing = await run_in_threadpool(self.standings.now)
        context = await run_in_threadpool(_shown, standing, self.hallway, words(language(request)))
        typed = EMPTY_FORM | dict(form or {})
        return render(request, template, status, **context, is_operator=role is Role.OPERATOR, form=typed, refused=refused)


def _shown(standing: Standing, hallway: Hallway, texts: Mapping[str, str]) -> dict[str, Any]:
    """The variables of the templates."""
    say = Saying(standing.at, texts)
    views = [View(view.name, view.reads) for view in catalog.views().values()]
    picture_words = {word: texts[f"hallway_{word}"] for word in WORDS}
    marks = dict.fromkeys(standing.outside.stopped, "stopped")
    return {
        "s": standing,
        "say": say,
        "truths": truths(standing, say),
        "picture": drawing(hallway, views, notes(standing, hallway, say), marks, picture_words),
        "late_before": {topic.name: _late_before(topic.newest_event_time, standing) for topic in standing.topics},
        "batch": {query.name: _seconds(query.batch_seconds) for query in standing.outside.queries},
        "told": _told(standing),
        "alerts": [_alert(row) for row in standing.alerts],
    }


def notes(standing: Standing, hallway: Hallway, say: Saying) -> dict[str, str]:
    """What is written into the boxes of the drawing, by name."""
    tables = {table.name: table for table in standing.tables}
    topics = {topic.name: topic for topic in standing.topics}
    found: dict[str, str] = {}
    for flow in hallway.ingests:
        topic = topics[flow.topic.name]
        found[flow.topic.name] = say("ops_note_topic", rate=say.rate(topic.per_second), lag=say.count(topic.lag))
        found[flow.bronze.name] = say("ops_note_read", n=say.count(topic.read))
        found[flow.table.name] = say("ops_note_valid", n=say.count(topic.valid))
        found[flow.quarantine.name] = say("ops_note_held", n=say.count(topic.quarantined))
    for flow in (*hallway.metrics, *hallway.joins):
        table = tables.get(flow.table.name)
        found[flow.table.name] = say("ops_note_table", version=table.version, age=say.age(table.committed_at)) if table else say("ops_none")
    counts = {status: sum(n for (_, found), n in standing.states.items() if found == status) for status in ("firing", "pending")}
    return found | {"alerts": say("ops_note_alerts", **counts)}


def _late_before(newest: datetime | None, standing: Standing) -> datetime | None:
    return newest - standing.outside.lateness if newest else None


def _seconds(batches: tuple[float, ...]) -> dict[str, float] | None:
    return {"last": batches[-1], "median": median(batches), "longest": max(batches), "n": len(batches)} if batches else None


def _told(standing: Standing) -> dict[str, list[str]]:
    """By alert, what became of telling people of it, newest try first; repeated words once."""
    found: dict[str, list[str]] = {}
    for delivery in standing.outside.deliveries:
        for alert_id in delivery.alert_ids:
            said = f"{delivery.channel} {delivery.outcome}".strip()
            if said not in found.setdefault(alert_id, []):
                found[alert_id].append(said)
    return found


def _alert(row: Mapping[str, Any]) -> dict[str, Any]:
    labels = json.loads(row["labels"])
    shown = ", ".join(f"{name}={value}" for name, value in sorted(labels.items()) if name != "alertname")
    return {**row, "labels": shown, "summary": json.loads(row["annotations"]).get("summary", "")}
