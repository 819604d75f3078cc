"""The mapping language: how the rows of a real file become the messages of a topic. conf/replay/*.yaml is written in it.

A `Value` says where a text comes from and what is done to it, always in this order:
from | constant | cases  ->  path  ->  regex  ->  lookup  ->  time | scale  ->  default
An empty cell, a step that finds nothing and a JSON null are all null; `default` takes the place of null.
"""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, StrictStr, ValidationError, model_validator

from promolake.core.errors import SettingsError
from promolake.core.topic import Topic
from promolake.sources import TOPICS

ABOUT_THE_ROW = ("$text", "$file", "$stem", "$folder", "$line", "$number")
"""Columns every row has: its whole text, file name, name up to the first dot, parent folder, line number, number within `group`."""


def _list(given: Any) -> Any:
    return given if isinstance(given, list) else [given]


def _steps(given: Any) -> Any:
    return given.split(".") if isinstance(given, str) else given


def _pattern(given: str) -> str:
    try:
        re.compile(given)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from error
    return given


def _zone(given: str) -> str:
    try:
        ZoneInfo(given)
    except Exception as error:
        raise ValueError("is not a time zone such as UTC or Asia/Shanghai") from error
    return given


Pattern = Annotated[StrictStr, AfterValidator(_pattern)]
Literally = StrictStr | StrictInt | None
Texts = Annotated[tuple[str, ...], BeforeValidator(_list)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Found(_Part):
    """A text found in the row."""

    column: str | None = Field(None, alias="from", description="A column of the file, or one of $text $file $stem $folder $line $number.")
    path: Annotated[tuple[str, ...], BeforeValidator(_steps)] = Field(
        (),
        description="Steps into JSON inside the column: dotted, or a list where a key holds a dot. Text on the way is parsed as JSON.",
    )
    regex: Pattern | None = Field(None, description="Searched in the text: its first group, or the whole match where it has none.")

    @property
    def columns(self) -> set[str]:
        return {self.column} if self.column is not None else set()


class Condition(Found):
    """True or false of a row. Exactly one of matches, equals, not_empty."""

    matches: Pattern | None = Field(None, description="The text contains a match of this regular expression.")
    equals: StrictStr | None = Field(None, description="The text is exactly this.")
    not_empty: Literal[True] | None = Field(None, description="There is a text, and it is not empty.")

    @model_validator(mode="after")
    def _one_test(self) -> Self:
        if self.column is None:
            raise ValueError("a condition needs `from`")
        if sum(test is not None for test in (self.matches, self.equals, self.not_empty)) != 1:
            raise ValueError("a condition needs exactly one of matches, equals, not_empty")
        return self


class Case(_Part):
    when: Condition = Field(description="The condition.")
    then: Literally = Field(description="The text where it is true.")


class Value(Found):
    """A text found in the row, or a constant, or the first case that is true; then changed step by step."""

    constant: Literally = Field(None, description="The same text in every row.")
    cases: tuple[Case, ...] = Field((), description="The first case that is true gives the text.")
    lookup: dict[str, Literally] = Field({}, description="Replaces a text by another; a text that is not in the table is null.")
    time: Texts = Field(
        (), description="Formats to try in this order: iso, epoch_s, epoch_ms, or a strptime format. Gives ISO-8601 in UTC."
    )
    zone: Annotated[str, AfterValidator(_zone)] = Field("UTC", description="The zone of a time that names no offset.")
    scale: Decimal | None = Field(None, description="Multiplies the number, exactly.")
    default: Literally = Field(None, description="Takes the place of null.")

    @model_validator(mode="before")
    @classmethod
    def _column_alone(cls, given: Any) -> Any:
        return {"from": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if sum((self.column is not None, "constant" in self.model_fields_set, bool(self.cases))) != 1:
            raise ValueError("needs exactly one of from, constant, cases")
        if self.time and self.scale is not None:
            raise ValueError("has both time and scale")
        return self

    @property
    def columns(self) -> set[str]:
        return super().columns.union(*(case.when.columns for case in self.cases))


class Mapping(_Part):
    """A mapping file. The topic's contract decides the rest: which fields there are, their types, the key, JSON or raw text."""

    topic: str = Field(description="The topic the rows go to, by its name in sources/.")
    format: Literal["csv", "tsv", "jsonl", "lines"] = Field(
        description="csv: quotes and commas; tsv: tabs, no quotes; jsonl; lines. Gzip is recognised."
    )
    encodings: Texts = Field(("utf-8", "latin-1"), description="Tried in this order, line by line.")
    column_names: tuple[str, ...] = Field((), description="csv, tsv: the columns, where the file has no header line.")
    event_starts: Pattern | None = Field(None, description="lines: a line without a match belongs to the event before it (stack traces).")
    group: str | None = Field(None, description="Consecutive rows with the same text in this column are numbered from 1: $number.")
    where: tuple[Condition, ...] = Field((), description="Only rows for which all of these are true are sent.")
    fields: dict[str, Value] = Field({}, description="JSON topics: the topic's field (dotted where nested) and its value. Others are null.")
    value: Value | None = Field(None, description="Raw topics: the message's text; the whole row where this is not given.")
    key: Value | None = Field(None, description="Raw topics: the message's key. A JSON topic's key is a field by contract.")

    @property
    def contract(self) -> Topic:
        return next(topic for topic in TOPICS if topic.name == self.topic)

    @property
    def columns(self) -> set[str]:
        """Every column of the file that the mapping reads."""
        read = [value.columns for value in (*self.where, *self.fields.values(), self.value, self.key) if value is not None]
        return set().union(*read, {self.group} if self.group else set()).difference(ABOUT_THE_ROW)

    @model_validator(mode="after")
    def _keeps_the_contract(self) -> Self:
        if self.topic not in {topic.name for topic in TOPICS}:
            raise ValueError(f"topic {self.topic} is not one of {', '.join(topic.name for topic in TOPICS)}")
        if self.contract.codec != "json":
            if self.fields:
                raise ValueError(f"{self.topic} carries raw text: use value and key instead of fields")
            return self
        if self.value or self.key:
            raise ValueError(f"{self.topic} carries JSON: use fields instead of value and key")
        known = {field.name: field for field in self.contract.fields}
        if wrong := [name for name in self.fields if name not in known or name == "event_id"]:
            raise ValueError(f"fields.{wrong[0]} is not a field of {self.topic} that a mapping can set")
        if missing := [name for name, field in known.items() if field.required and name != "event_id" and name not in self.fields]:
            raise ValueError(f"fields.{missing[0]} is missing: {self.topic} requires it")
        return self

    @model_validator(mode="after")
    def _fits_the_format(self) -> Self:
        if self.event_starts and self.format != "lines":
            raise ValueError("event_starts is for format lines only")
        if self.column_names and self.format not in ("csv", "tsv"):
            raise ValueError("column_names is for format csv and tsv only")
        if self.format == "lines" and self.columns:
            raise ValueError(f"format lines has no column {min(self.columns)}: use $text")
        for encoding in self.encodings:
            try:
                "".encode(encoding)
            except LookupError as error:
                raise ValueError(f"encodings: {encoding} is not an encoding") from error
        return self


def mapping(name: str, folder: Path = Path("conf/replay")) -> Mapping:
    """The mapping NAME of a folder, or the one in the file of that path. Raises SettingsError that names the file and the key."""
    file = Path(name) if name.endswith((".yaml", ".yml")) else folder / f"{name}.yaml"
    if not file.is_file():
        known = ", ".join(sorted(found.stem for found in folder.glob("*.yaml")))
        raise SettingsError(f"There is no mapping {file}.", f"Known are: {known}." if known else "Give the path of a mapping file.")
    try:
        return Mapping.model_validate(yaml.safe_load(file.read_text("utf-8")))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise SettingsError(f"{file} is not YAML{f' in line {mark.line + 1}' if mark else ''}.", "Mend the file.") from error
    except ValidationError as error:
        raise SettingsError(f"{file}: {_first(error)}.", "Each key is described in promolake/producers/mapping.py.") from error


def _first(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(step) for step in found["loc"])
    return f"{where}: {found['msg'].removeprefix('Value error, ')}" if where else found["msg"].removeprefix("Value error, ")
