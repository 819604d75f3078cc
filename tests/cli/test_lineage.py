"""OpenLineage events say what a run's flows read and write, and never cost the run anything."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import pytest

from alerts.far_end import CUT, HANG, Answer, FarEnd, far_end
from promolake.cli import lineage, telling
from promolake.cli.lineage import jobs_of, jobs_of_rebuild
from promolake.hallway import HALLWAY

LAKE = Path("/home/lake")


@pytest.fixture
def end() -> Iterator[FarEnd]:
    with far_end() as server:
        yield server


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def run(tmp_path: Path, said: list[str]) -> Callable[..., AbstractContextManager[None]]:
    """`with run(to):` is a run of the home; what is said of it goes to `said`."""
    return lambda to, its_jobs=None: telling.telling(str(to), its_jobs or jobs(), said.append, tmp_path / "marks")


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


def test_the_events_of_a_run_share_ids_between_beginning_and_end_and_name_their_parent(
    run: Callable, tmp_path: Path, said: list[str]
) -> None:
    file = tmp_path / "deep" / "lineage.jsonl"
    with run(file):
        pass
    events = told(file)
    half = len(events) // 2
    assert [event["eventType"] for event in events] == ["START"] * half + ["COMPLETE"] * half
    assert [event["run"]["runId"] for event in events[:half]] == [event["run"]["runId"] for event in events[half:]]
    assert len({UUID(event["run"]["runId"]) for event in events}) == half
    parent = events[0]["run"]["runId"]
    assert {event["run"]["facets"]["parent"]["run"]["runId"] for event in events[1:half]} == {parent}
    assert said == []


def test_an_event_has_what_the_spec_requires(run: Callable, tmp_path: Path) -> None:
    """OpenLineage 2-0-2, RunEvent: eventTime, producer, schemaURL, run.runId, job; each facet its producer and schema."""

    def facets(node: object) -> Iterator[lineage.Event]:
        for name, child in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
            yield from child.values() if name == "facets" else facets(child)

    file = tmp_path / "lineage.jsonl"
    with run(file):
        pass
    for event in told(file):
        assert {"eventType", "eventTime", "producer", "schemaURL", "run", "job", "inputs", "outputs"} == event.keys()
        assert event["eventTime"].endswith("+00:00")
        assert urlsplit(event["producer"]).scheme == "urn"
        for facet in facets(event):
            assert facet["_schemaURL"].startswith("https://openlineage.io/spec/facets/")
            assert facet["_producer"] == event["producer"]


def test_a_run_that_fails_says_so_and_fails_as_before(run: Callable, tmp_path: Path) -> None:
    file = tmp_path / "lineage.jsonl"
    with pytest.raises(ZeroDivisionError), run(file):
        raise ZeroDivisionError
    assert [event["eventType"] for event in told(file)][-1] == "FAIL"


def test_without_the_setting_nothing_is_told_or_kept(run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "_tell", pytest.fail)
    with run(""):
        assert not (tmp_path / "marks").exists()


def test_events_are_posted_one_by_one(run: Callable, end: FarEnd, said: list[str]) -> None:
    with run(f"{end.url}/api/v1/lineage"):
        pass
    assert {request.path for request in end.requests} == {"/api/v1/lineage"}
    assert [request.json["eventType"] for request in end.requests] == ["START"] * len(jobs()) + ["COMPLETE"] * len(jobs())
    assert said == []


@pytest.mark.parametrize("answer", [Answer(400), Answer(500), CUT], ids=["refuses", "fails", "cuts"])
def test_an_end_that_does_not_take_them_is_said_once_a_batch_without_the_address(
    run: Callable, end: FarEnd, said: list[str], answer: Answer
) -> None:
    end.otherwise = answer
    with run(f"{end.url}/?key=secret"):
        pass
    assert len(end.requests) == 2
    assert [line.split(" could not")[0] for line in said] == ["lineage: the START of main", "lineage: the COMPLETE of main"]
    assert [line.split("; ")[-1] for line in said] == ["the run goes on", "the next start tells it"]
    assert "secret" not in "".join(said)


def test_an_end_that_hangs_does_not_hold_up_the_run(run: Callable, end: FarEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "END_SECONDS", 0.2)
    end.otherwise = HANG
    began = time.monotonic()
    with run(end.url):
        inside = time.monotonic() - began
    assert inside < 0.2
    assert time.monotonic() - began < 2


def test_nobody_at_the_address_and_no_such_directory_are_said(run: Callable, said: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for to in ("http://127.0.0.1:9/", str(tmp_path / "file" / "lineage.jsonl")):
        with run(to):
            pass
    starts = [line for line in said if line.startswith("lineage: the START of main could not be told: ")]
    ends = [line for line in said if line.startswith("lineage: the COMPLETE of main could not be told: ")]
    assert (len(starts), len(ends), len(said)) == (2, 3, 5)  # the second tries the first's end as well


# --- what a run leaves behind ----------------------------------------------------------------------------------------------------


KILLED = """
import os, signal, sys
from pathlib import Path
from promolake.cli.lineage import jobs_of
from promolake.cli.telling import telling
from promolake.hallway import HALLWAY
jobs = jobs_of(HALLWAY, "main", Path("/home/lake"), "a:9092", once=False)
with telling(sys.argv[1], jobs, print, Path(sys.argv[2])):
    while not Path(sys.argv[1]).exists() or Path(sys.argv[1]).read_text().count("\\n") < len(jobs):
        pass
    os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(file: Path, marks: Path) -> list[lineage.Event]:
    """A run that is killed once it has told its beginning; what it told."""
    ended = subprocess.run([sys.executable, "-c", KILLED, str(file), str(marks)], env=os.environ, timeout=120, check=False)
    assert ended.returncode == -signal.SIGKILL
    return told(file)


def types(events: list[lineage.Event]) -> list[str]:
    """What was told, each repetition once."""
    return [event["eventType"] for n, event in enumerate(events) if n == 0 or events[n - 1]["eventType"] != event["eventType"]]


def identities(events: list[lineage.Event], kind: str) -> list[tuple[str, str]]:
    return [(event["run"]["runId"], event["job"]["name"]) for event in events if event["eventType"] == kind]


def test_the_next_start_says_that_a_killed_run_is_over_and_says_it_once(run: Callable, tmp_path: Path) -> None:
    begun = killed(tmp_path / "before.jsonl", tmp_path / "marks")
    assert types(begun) == ["START"]
    (mark,) = (tmp_path / "marks").glob("*.json")
    assert mark.stat().st_size < 4096
    with run(tmp_path / "after.jsonl", jobs_of_rebuild(HALLWAY, ["orders"], LAKE)):  # whatever starts in the home
        pass
    after = told(tmp_path / "after.jsonl")
    assert types(after) == ["ABORT", "START", "COMPLETE"]
    assert identities(after, "ABORT") == identities(begun, "START")
    assert min(event["eventTime"] for event in after) > max(event["eventTime"] for event in begun)
    with run(tmp_path / "later.jsonl"):
        pass
    assert types(told(tmp_path / "later.jsonl")) == ["START", "COMPLETE"]
    assert list((tmp_path / "marks").glob("*.json")) == []


def test_nobody_calls_a_run_killed_that_is_alive(run: Callable, tmp_path: Path) -> None:
    with run(tmp_path / "one.jsonl"), run(tmp_path / "beside.jsonl"):
        pass
    assert types(told(tmp_path / "beside.jsonl")) == ["START", "COMPLETE"]
    assert types(told(tmp_path / "one.jsonl")) == ["START", "COMPLETE"]


def test_an_end_that_nobody_took_is_told_by_the_next_start_with_its_own_time(run: Callable, tmp_path: Path) -> None:
    nowhere = tmp_path / "file" / "lineage.jsonl"
    nowhere.parent.touch()
    with pytest.raises(ZeroDivisionError), run(nowhere):
        raise ZeroDivisionError
    between = lineage.now()
    with run(nowhere):  # does not take it either
        pass
    nowhere.parent.unlink()
    with run(nowhere):
        pass
    events = told(nowhere)
    assert sorted(types(events)[:2]) == ["COMPLETE", "FAIL"]
    assert types(events)[2:] == ["START", "COMPLETE"]
    assert len({event["run"]["runId"] for event in events}) == 3 * len(jobs())
    assert {event["eventTime"] < between for event in events if event["eventType"] == "FAIL"} == {True}


def test_a_home_that_cannot_be_written_costs_the_run_nothing(run: Callable, tmp_path: Path, said: list[str]) -> None:
    (tmp_path / "marks").touch()
    with run(tmp_path / "lineage.jsonl"):
        pass
    assert types(told(tmp_path / "lineage.jsonl")) == ["START", "COMPLETE"]
    assert [line.split(" cannot")[0] for line in said] == [f"lineage: {tmp_path / 'marks'}"]


# --- a rebuild -------------------------------------------------------------------------------------------------------------------


def test_a_rebuild_makes_the_named_tables_from_bronze() -> None:
    found = {one["job"]["name"]: one for one in jobs_of_rebuild(HALLWAY, ["orders", "gold.funnel_per_minute"], LAKE)}
    assert list(found) == ["rebuild", "rebuild.silver.orders", "rebuild.gold.funnel_per_minute"]
    assert names(found["rebuild.silver.orders"]["inputs"]) == [("file", "/home/lake/bronze/shop_orders")]
    written = ("silver/orders", "silver/quarantine_orders")
    assert names(found["rebuild.silver.orders"]["outputs"]) == [("file", f"/home/lake/{name}") for name in written]
    read = {name.rpartition("/")[2] for _, name in names(found["rebuild.gold.funnel_per_minute"]["inputs"])}
    assert read == {"shop_searches", "shop_views", "shop_orders"}
    assert {one["job"]["facets"]["jobType"]["processingType"] for one in found.values()} == {"BATCH"}


@pytest.mark.spark
@pytest.mark.parametrize(("table", "ending", "code"), [("gold.errors_per_minute", "COMPLETE", 0), ("gold.nothing", "FAIL", 2)])
def test_a_rebuild_says_when_it_begins_and_how_it_ends(home: Path, tmp_path: Path, table: str, ending: str, code: int) -> None:
    file = tmp_path / "lineage.jsonl"
    environment = os.environ | {"PROMOLAKE_LINEAGE__TO": str(file)}
    command = [sys.executable, "-m", "promolake.cli", "--home", str(home), "rebuild", table]
    assert subprocess.run(command, env=environment, timeout=300, check=False).returncode == code
    events = told(file)
    assert types(events) == ["START", ending]
    assert {event["job"]["name"] for event in events} == {"rebuild"} | ({f"rebuild.{table}"} if code == 0 else set())
    assert list((home / "state" / "lineage").glob("*.json")) == []
