"""What conf/alerts.yaml may say: rules in Prometheus's words, routes and receivers in Alertmanager's. Unknown keys are refused."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from promolake.alerts.channels import ChannelConfig
from promolake.alerts.duration import Duration
from promolake.core.errors import SettingsError

ZERO = timedelta()
_MATCHER = re.compile(r"\s*([A-Za-z_]\w*)\s*(=~|!~|!=|=)\s*\"?([^\"]*)\"?\s*")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Condition(_Section):
    """When a rule is hot, when it has cooled down, and for how long either must last. Also what a phase may override."""

    expr: str = Field("", description="SQL condition over `value`, `baseline` and its like, and the labels: the rule is hot.")
    clear: str = Field("", description="SQL condition: a firing alert has cooled down. Empty: when `expr` no longer holds.")
    for_: Duration = Field(ZERO, alias="for", description="How long it must be hot before it fires.")
    keep_firing_for: Duration = Field(ZERO, description="How long it must have cooled down before it is resolved.")


class Rule(Condition):
    """One alert over one table or view, a sample per minute of event time and combination of the labels in `by`."""

    alert: str = Field(pattern=r"^[A-Za-z_]\w*$")
    table: str = Field(description="A gold table or view, or ops.ledger.")
    over: Duration | None = Field(None, description="For a view: of how long, until the minute's end, its tables' rows are taken.")
    where: str = Field("", description="SQL condition on the table's rows.")
    by: tuple[str, ...] = Field((), description="Columns that become labels.")
    value: str = Field("", description="SQL aggregate over the rows of a minute and labels.")
    baseline: Duration | None = Field(
        None,
        description="Makes known: `baseline`, the mean of `value` over so long before, `baseline_stddev`, `baseline_count`.",
    )
    early: bool = Field(False, description="May fire before the minute is over: right for figures that only grow.")
    no_data: Duration | None = Field(None, description="Instead of `expr`: hot when nothing has come for so long.")
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    phases: dict[str, Condition] = Field({}, description="Other conditions in a phase of the calendar; what is not named stays.")

    @model_validator(mode="after")
    def _one_kind(self) -> Rule:
        if self.no_data is None and not (self.expr and self.value):
            raise ValueError("a rule needs value and expr, or no_data")
        if self.no_data is not None and (self.expr or self.value or self.baseline or self.early):
            raise ValueError("a no_data rule has no value, expr, baseline or early")
        return self

    def in_phase(self, name: str | None) -> Condition:
        """The condition that holds in a phase."""
        override = self.phases.get(name or "")
        if override is None:
            return self
        return self.model_copy(update={field: getattr(override, field) for field in override.model_fields_set})


class Group(_Section):
    name: str
    rules: tuple[Rule, ...]


def _utc(time: datetime) -> datetime:
    if time.tzinfo is None:
        raise ValueError("the time needs an offset, such as +08:00 or Z")
    return time.astimezone(UTC)


Instant = Annotated[datetime, AfterValidator(_utc)]


class Phase(_Section):
    """A stretch of the promotion calendar, in event time."""

    name: str
    from_: Instant = Field(alias="from")
    until: Instant


class Matcher(_Section):
    """`name = value`, `!=`, or with a regular expression over the whole value `=~`, `!~` (Alertmanager, "Configuration", <matcher>)."""

    label: str
    operator: Literal["=", "!=", "=~", "!~"]
    text: str

    @model_validator(mode="before")
    @classmethod
    def _parsed(cls, given: Any) -> Any:
        if isinstance(given, str):
            found = _MATCHER.fullmatch(given)
            if not found:
                raise ValueError(f'{given!r} is no matcher such as severity="page" or alertname=~"Gmv.*"')
            given = {"label": found[1], "operator": found[2], "text": found[3]}
        if given["operator"] in ("=~", "!~"):
            try:
                re.compile(given["text"])
            except re.error as error:
                raise ValueError(f"{given['text']!r} is no regular expression: {error}") from None
        return given

    def matches(self, labels: dict[str, str]) -> bool:
        value = labels.get(self.label, "")
        same = value == self.text if self.operator in ("=", "!=") else re.fullmatch(self.text, value) is not None
        return same != self.operator.startswith("!")


class Route(_Section):
    """Where alerts go; what a child route does not say is its parent's (Alertmanager, "Configuration", <route>)."""

    receiver: str = ""
    matchers: tuple[Matcher, ...] = ()
    group_by: tuple[str, ...] | None = None
    group_wait: Duration | None = None
    group_interval: Duration | None = None
    repeat_interval: Duration | None = None
    continue_: bool = Field(False, alias="continue")
    routes: tuple[Route, ...] = ()


class Receiver(_Section):
    name: str
    channels: tuple[ChannelConfig, ...]


class InhibitRule(_Section):
    """While an alert of the source fires, those of the target with the same `equal` labels are held back."""

    source_matchers: tuple[Matcher, ...]
    target_matchers: tuple[Matcher, ...]
    equal: tuple[str, ...] = ()


class AlertsFile(_Section):
    """The whole of conf/alerts.yaml."""

    groups: tuple[Group, ...] = ()
    calendar: tuple[Phase, ...] = ()
    route: Route
    receivers: tuple[Receiver, ...]
    inhibit_rules: tuple[InhibitRule, ...] = ()
    max_age: Duration = Field(
        timedelta(days=1), description="An alert about longer ago (a replayed file's) is recorded and told to nobody."
    )

    @property
    def rules(self) -> tuple[Rule, ...]:
        return tuple(rule for group in self.groups for rule in group.rules)

    @model_validator(mode="after")
    def _names(self) -> AlertsFile:
        names = [rule.alert for rule in self.rules]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"alerts of the same name: {', '.join(sorted(twice))}")
        known, channels = {one.name for one in self.receivers}, [c.name for one in self.receivers for c in one.channels]
        if twice := {name for name in channels if channels.count(name) > 1}:
            raise ValueError(f"channels of the same name: {', '.join(sorted(twice))}")
        if not self.route.receiver:
            raise ValueError("the topmost route needs a receiver")
        if unknown := {route.receiver for route in _all(self.route) if route.receiver} - known:
            raise ValueError(f"no receiver is named {', '.join(sorted(unknown))}")
        phases = {phase.name for phase in self.calendar}
        if unknown := {name for rule in self.rules for name in rule.phases} - phases:
            raise ValueError(f"no phase of the calendar is named {', '.join(sorted(unknown))}")
        return self

    def phase(self, time: datetime) -> str | None:
        """The phase of the calendar a time lies in; of several, the first named."""
        return next((phase.name for phase in self.calendar if phase.from_ <= time < phase.until), None)


def _all(route: Route) -> list[Route]:
    return [route, *(found for child in route.routes for found in _all(child))]


def load(file: Path) -> AlertsFile:
    """The file's rules and routes. Raises SettingsError with the line of what is wrong."""
    try:
        text = file.read_text(encoding="utf-8")
        return AlertsFile.model_validate(yaml.safe_load(text))
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}.", "Put it there, or set alerts.file.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise SettingsError(f"{file}:{mark.line + 1 if mark else 1}: not YAML.", "Correct the line.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"{file}:{line_of(text, first['loc'])}: {where or 'the file'}: {first['msg']}.", "Correct the line.") from None


def line_of(text: str, path: tuple[int | str, ...]) -> int:
    """The line (from 1) of what stands at a path of keys and places in a YAML text; of its nearest parent when it is not there."""
    node, line = yaml.compose(text), 1
    for part in path:
        if isinstance(node, yaml.MappingNode):
            pair = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if pair is None:
                continue  # a part of pydantic's own, such as the name of a union's member
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line
