"""What OpenLineage run events say: which flow of a run reads and writes what. Told by telling.py.

One job per flow, and the run as their parent. Spark's own listener would show the plans of micro-batches, which are written to Delta by
another writer: it could not name a table. What is said are names, types and descriptions of the contracts, never a row.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4, uuid5

from promolake import __version__
from promolake.core.flow import Hallway
from promolake.core.table import Table

PRODUCER = f"urn:promolake:{__version__}"
SPEC = "https://openlineage.io/spec"
Event = dict[str, Any]


class _Job(NamedTuple):
    name: str
    inputs: list[Event]
    outputs: list[Event]


def jobs_of(flows: Hallway, query: str, lake: Path, bootstrap: str, once: bool) -> list[Event]:
    """What all events of a run have: the run itself first, then its flows with their datasets, as the naming rules of the spec want."""

    def topic(name: str) -> Event:
        return {"namespace": f"kafka://{bootstrap.split(',')[0]}", "name": name}

    found = []
    for ingest in flows.ingests:
        written = _tables(lake, (ingest.bronze, ingest.table, ingest.quarantine))
        found.append(_Job(ingest.table.name, [topic(ingest.topic.name)], written))
    for made in (*flows.metrics, *flows.joins):
        found.append(_Job(made.table.name, _tables(lake, [reads.table for reads in made.reads]), _tables(lake, [made.table])))
    for forward in flows.forwards:
        found.append(_Job(forward.name, _tables(lake, [forward.reads]), [topic(forward.topic)]))
    return _jobs(query, "BATCH" if once else "STREAMING", found)


def jobs_of_rebuild(flows: Hallway, names: Collection[str], lake: Path) -> list[Event]:
    """The same for a rebuild of the tables so named, with or without their layer: each of them is computed from bronze."""
    bronze = {ingest.table: ingest.bronze for ingest in flows.ingests}
    made = {ingest.table: ([ingest.bronze], [ingest.table, ingest.quarantine]) for ingest in flows.ingests}
    made |= {flow.table: ([bronze[reads.table] for reads in flow.reads], [flow.table]) for flow in (*flows.metrics, *flows.joins)}
    named = {table: datasets for table, datasets in made.items() if {table.name, table.short} & set(names)}
    return _jobs("rebuild", "BATCH", [_Job(table.name, *(_tables(lake, ones) for ones in datasets)) for table, datasets in named.items()])


def events(said: Event, jobs: Sequence[Event]) -> list[Event]:
    """Of every job the same: `said` has the type and, unless it is now, the time."""
    frame = {"eventTime": now(), "producer": PRODUCER, "schemaURL": f"{SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"}
    return [frame | said | job for job in jobs]


def now() -> str:
    return datetime.now(UTC).isoformat()


def _jobs(name: str, kind: str, flows: Sequence[_Job]) -> list[Event]:
    run = uuid4()
    parent = {"run": {"runId": str(run)}, "job": {"namespace": "promolake", "name": name}}
    is_child = {"parent": _facet("ParentRunFacet", "1-0-1", **parent)}

    def job(flow: _Job, run_id: UUID, run_facets: Event) -> Event:
        facets = {"jobType": _facet("JobTypeJobFacet", "2-0-3", processingType=kind, integration="PROMOLAKE", jobType="JOB")}
        named = {"namespace": "promolake", "name": flow.name, "facets": facets}
        return {"run": {"runId": str(run_id), "facets": run_facets}, "job": named, "inputs": flow.inputs, "outputs": flow.outputs}

    children = [job(flow._replace(name=f"{name}.{flow.name}"), uuid5(run, flow.name), is_child) for flow in flows]
    return [job(_Job(name, [], []), run, {}), *children]


def _tables(lake: Path, tables: Sequence[Table]) -> list[Event]:
    def table(one: Table) -> Event:
        columns = [{"name": c.name, "type": c.type, "description": c.description} for c in one.columns]
        facets = {"schema": _facet("SchemaDatasetFacet", "1-1-1", fields=columns)}
        return {"namespace": "file", "name": str(lake / one.layer / one.short), "facets": facets}

    return [table(one) for one in tables]


def _facet(name: str, version: str, **said: Any) -> Event:
    return {"_producer": PRODUCER, "_schemaURL": f"{SPEC}/facets/{version}/{name}.json#/$defs/{name}"} | said
