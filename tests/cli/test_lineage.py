"""OpenLineage events say what a run's flows read and write, and never cost the run anything."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import pytest

from alerts.far_end import CUT, HANG, Answer, FarEnd, far_end
from promolake.cli import lineage
from promolake.cli.lineage import jobs_of, telling
from promolake.hallway import HALLWAY

LAKE = Path("/home/lake")


@pytest.fixture
def end() -> Iterator[FarEnd]:
    with far_end() as server:
        yield server


@pytest.fixture
def said() -> list[str]:
    return []


def jobs() -> list[lineage.Event]:
    return jobs_of(HALLWAY, "main", LAKE, "a:9092,b:9092", once=False)


def told(file: Path) -> list[lineage.Event]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def names(datasets: list[lineage.Event]) -> list[tuple[str, str]]:
    return [(one["namespace"], one["name"]) for one in datasets]


def test_every_flow_is_a_job_that_reads_and_writes_what_its_contract_says() -> None:
    found = {one["job"]["name"]: one for one in jobs()}
    flows = [*(flow.table.name for flow in (*HALLWAY.ingests, *HALLWAY.metrics, *HALLWAY.joins)), *(f.name for f in HALLWAY.forwards)]
    assert list(found) == ["main", *(f"main.{name}" for name in flows)]
    orders = found["main.silver.orders"]
    assert names(orders["inputs"]) == [("kafka://a:9092", "shop.orders")]
    written = ("bronze/shop_orders", "silver/orders", "silver/quarantine_orders")
    assert names(orders["outputs"]) == [("file", f"/home/lake/{name}") for name in written]
    assert names(found["main.gold.gmv_per_minute"]["inputs"]) == [("file", "/home/lake/silver/orders")]
    assert names(found["main.forwarded_errors"]["outputs"]) == [("kafka://a:9092", "app.logs.errors")]


def test_a_table_comes_with_its_columns() -> None:
    (gmv,) = next(one for one in jobs() if one["job"]["name"] == "main.gold.gmv_per_minute")["outputs"]
    promised = [{"name": c.name, "type": c.type, "description": c.description} for c in HALLWAY.metrics[0].table.columns]
    assert gmv["facets"]["schema"]["fields"] == promised


def test_the_events_of_a_run_share_ids_between_beginning_and_end_and_name_their_parent(tmp_path: Path, said: list[str]) -> None:
    file = tmp_path / "deep" / "lineage.jsonl"
    with telling(str(file), jobs(), said.append):
        pass
    events = told(file)
    half = len(events) // 2
    assert [event["eventType"] for event in events] == ["START"] * half + ["COMPLETE"] * half
    assert [event["run"]["runId"] for event in events[:half]] == [event["run"]["runId"] for event in events[half:]]
    assert len({UUID(event["run"]["runId"]) for event in events}) == half
    parent = events[0]["run"]["runId"]
    assert {event["run"]["facets"]["parent"]["run"]["runId"] for event in events[1:half]} == {parent}
    assert said == []


def test_an_event_has_what_the_spec_requires(tmp_path: Path, said: list[str]) -> None:
    """OpenLineage 2-0-2, RunEvent: eventTime, producer, schemaURL, run.runId, job; each facet its producer and schema."""

    def facets(node: object) -> Iterator[lineage.Event]:
        for name, child in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
            yield from child.values() if name == "facets" else facets(child)

    file = tmp_path / "lineage.jsonl"
    with telling(str(file), jobs(), said.append):
        pass
    for event in told(file):
        assert {"eventType", "eventTime", "producer", "schemaURL", "run", "job", "inputs", "outputs"} == event.keys()
        assert event["eventTime"].endswith("+00:00")
        assert urlsplit(event["producer"]).scheme == "urn"
        for facet in facets(event):
            assert facet["_schemaURL"].startswith("https://openlineage.io/spec/facets/")
            assert facet["_producer"] == event["producer"]


def test_a_run_that_fails_says_so_and_fails_as_before(tmp_path: Path, said: list[str]) -> None:
    file = tmp_path / "lineage.jsonl"
    with pytest.raises(ZeroDivisionError), telling(str(file), jobs(), said.append):
        raise ZeroDivisionError
    assert [event["eventType"] for event in told(file)][-1] == "FAIL"


def test_without_the_setting_nothing_is_told(tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineage, "_tell", pytest.fail)
    with telling("", jobs(), said.append):
        pass


def test_events_are_posted_one_by_one(end: FarEnd, said: list[str]) -> None:
    with telling(f"{end.url}/api/v1/lineage", jobs(), said.append):
        pass
    assert {request.path for request in end.requests} == {"/api/v1/lineage"}
    assert [request.json["eventType"] for request in end.requests] == ["START"] * len(jobs()) + ["COMPLETE"] * len(jobs())
    assert said == []


@pytest.mark.parametrize("answer", [Answer(400), Answer(500), CUT], ids=["refuses", "fails", "cuts"])
def test_an_end_that_does_not_take_them_is_said_once_a_batch_without_the_address(end: FarEnd, said: list[str], answer: Answer) -> None:
    end.otherwise = answer
    with telling(f"{end.url}/?key=secret", jobs(), said.append):
        pass
    assert len(end.requests) == 2
    assert [line.split(" of this run")[0] for line in said] == ["lineage: the START", "lineage: the COMPLETE"]
    assert "secret" not in "".join(said)


def test_an_end_that_hangs_does_not_hold_up_the_run(end: FarEnd, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineage, "END_SECONDS", 0.2)
    end.otherwise = HANG
    began = time.monotonic()
    with telling(end.url, jobs(), said.append):
        inside = time.monotonic() - began
    assert inside < 0.2
    assert time.monotonic() - began < 2


def test_nobody_at_the_address_and_no_such_directory_are_said(said: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for to in ("http://127.0.0.1:9/", str(tmp_path / "file" / "lineage.jsonl")):
        with telling(to, jobs(), said.append):
            pass
    assert len(said) == 4
    assert all(line.endswith("the run goes on") for line in said)
