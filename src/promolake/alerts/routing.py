"""Who hears of which alert: the route tree, groups, inhibition and silences (Alertmanager, "Configuration"). Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from promolake.alerts.rules import InhibitRule, Instant, Matcher, Route

ALL = "..."  # group_by: every label, so that each alert is a group of its own


@dataclass(frozen=True)
class Policy:
    """What a route says, its parents' words filled in."""

    receiver: str
    group_by: tuple[str, ...] = ()
    group_wait: timedelta = timedelta(seconds=2)
    group_interval: timedelta = timedelta(minutes=1)
    repeat_interval: timedelta = timedelta(hours=4)
    place: str = "0"  # where it stands in the tree: two routes to one receiver are two groups

    def group(self, labels: Mapping[str, str]) -> dict[str, str]:
        """The labels that make an alert's group."""
        return dict(labels) if ALL in self.group_by else {name: labels[name] for name in self.group_by if name in labels}

    def key(self, labels: Mapping[str, str]) -> str:
        return json.dumps([self.place, self.receiver, self.group(labels)], sort_keys=True, ensure_ascii=False)


class Silence(BaseModel):
    """While it lasts, alerts that all matchers match are held back."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str
    matchers: tuple[Matcher, ...]
    starts_at: Instant
    ends_at: Instant
    created_by: str
    comment: str = ""


def policies(route: Route, labels: dict[str, str], parent: Policy | None = None, place: str = "0") -> list[Policy]:
    """The policies an alert comes under: depth first, the first child that matches unless it says `continue`, else the route itself."""
    said = {
        name: getattr(route, name)
        for name in ("receiver", "group_by", "group_wait", "group_interval", "repeat_interval")
        if getattr(route, name) not in (None, "")
    }
    own = replace(parent, **said, place=place) if parent else Policy(**said, place=place)
    found: list[Policy] = []
    for n, child in enumerate(route.routes):
        if all(matcher.matches(labels) for matcher in child.matchers):
            found += policies(child, labels, own, f"{place}.{n}")
            if not child.continue_:
                break
    return found or [own]


class Hold:
    """What is to be held back at a moment. `firing` has the labels of all alerts that fire."""

    def __init__(
        self, firing: Sequence[dict[str, str]], inhibit: Iterable[InhibitRule], silences: Iterable[Silence], now: datetime
    ) -> None:
        self._silences = [silence for silence in silences if silence.starts_at <= now < silence.ends_at]
        self._inhibit = [(rule, self._sources(rule, firing)) for rule in inhibit]

    @staticmethod
    def _sources(rule: InhibitRule, firing: Sequence[dict[str, str]]) -> dict[tuple[str, ...], list[dict[str, str]]]:
        found: dict[tuple[str, ...], list[dict[str, str]]] = {}
        for labels in firing:
            if all(matcher.matches(labels) for matcher in rule.source_matchers):
                found.setdefault(tuple(labels.get(name, "") for name in rule.equal), []).append(labels)
        return found

    def why(self, labels: dict[str, str]) -> str:
        """`silenced`, `inhibited`, or empty when the alert may be spoken of. No alert inhibits itself."""
        if any(all(matcher.matches(labels) for matcher in silence.matchers) for silence in self._silences):
            return "silenced"
        for rule, sources in self._inhibit:
            if sources and all(matcher.matches(labels) for matcher in rule.target_matchers):
                same = sources.get(tuple(labels.get(name, "") for name in rule.equal), ())
                if any(source != labels for source in same[:2]):
                    return "inhibited"
        return ""
