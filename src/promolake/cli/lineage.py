"""OpenLineage run events of a run: which flow reads and writes what, said when it begins and when it ends, to a file or an address.

One job per flow, and the run as their parent. Spark's own listener would show the plans of micro-batches, which are written to Delta by
another writer: it could not name a table. What is sent are names, types and descriptions of the contracts, never a row.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4, uuid5

from promolake import __version__
from promolake.alerts.channels.base import post
from promolake.alerts.message import Refused, TryLater
from promolake.core.flow import Hallway
from promolake.core.table import Table

PRODUCER = f"urn:promolake:{__version__}"
SPEC = "https://openlineage.io/spec"
END_SECONDS = 10  # how long the end of a run waits for the last events to be taken
Event = dict[str, Any]


@contextmanager
def telling(to: str, jobs: Sequence[Event], say: Callable[[str], None]) -> Iterator[None]:
    """Says START now, and COMPLETE or FAIL when the block ends, to `to` (a file or an http address; empty: nowhere).

    The run neither waits nor fails for it: what cannot be told is said once and lost. A killed run says no end.
    """
    if not to:
        yield
        return
    batches: queue.SimpleQueue[list[Event] | None] = queue.SimpleQueue()
    teller = threading.Thread(target=_tell, args=(to, batches, say), name="lineage", daemon=True)
    teller.start()
    batches.put(_now("START", jobs))
    ending = "FAIL"
    try:
        yield
        ending = "COMPLETE"
    finally:
        batches.put(_now(ending, jobs))
        batches.put(None)
        teller.join(END_SECONDS)


def jobs_of(flows: Hallway, query: str, lake: Path, bootstrap: str, once: bool) -> list[Event]:
    """What all events of a run have: the run itself first, then its flows with their datasets, as the naming rules of the spec want."""
    run, kind = uuid4(), "BATCH" if once else "STREAMING"
    parent = {"run": {"runId": str(run)}, "job": {"namespace": "promolake", "name": query}}

    def topic(name: str) -> Event:
        return {"namespace": f"kafka://{bootstrap.split(',')[0]}", "name": name}

    def table(one: Table) -> Event:
        columns = [{"name": c.name, "type": c.type, "description": c.description} for c in one.columns]
        facets = {"schema": _facet("SchemaDatasetFacet", "1-1-1", fields=columns)}
        return {"namespace": "file", "name": str(lake / one.layer / one.short), "facets": facets}

    def job(name: str, inputs: list[Event], outputs: list[Event], run_id: UUID, run_facets: Event) -> Event:
        facets = {"jobType": _facet("JobTypeJobFacet", "2-0-3", processingType=kind, integration="PROMOLAKE", jobType="JOB")}
        job_ = {"namespace": "promolake", "name": name, "facets": facets}
        return {"run": {"runId": str(run_id), "facets": run_facets}, "job": job_, "inputs": inputs, "outputs": outputs}

    def flow(name: str, inputs: list[Event], outputs: list[Event]) -> Event:
        facets = {"parent": _facet("ParentRunFacet", "1-0-1", **parent)}
        return job(f"{query}.{name}", inputs, outputs, uuid5(run, name), facets)

    found = [job(query, [], [], run, {})]
    for ingest in flows.ingests:
        written = [table(one) for one in (ingest.bronze, ingest.table, ingest.quarantine)]
        found.append(flow(ingest.table.name, [topic(ingest.topic.name)], written))
    for made in (*flows.metrics, *flows.joins):
        found.append(flow(made.table.name, [table(reads.table) for reads in made.reads], [table(made.table)]))
    for forward in flows.forwards:
        found.append(flow(forward.name, [table(forward.reads)], [topic(forward.topic)]))
    return found


def _now(kind: str, jobs: Sequence[Event]) -> list[Event]:
    frame = {"eventType": kind, "eventTime": datetime.now(UTC).isoformat(), "producer": PRODUCER}
    return [frame | {"schemaURL": f"{SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"} | job for job in jobs]


def _facet(name: str, version: str, **said: Any) -> Event:
    return {"_producer": PRODUCER, "_schemaURL": f"{SPEC}/facets/{version}/{name}.json#/$defs/{name}"} | said


def _tell(to: str, batches: queue.SimpleQueue[list[Event] | None], say: Callable[[str], None]) -> None:
    while (batch := batches.get()) is not None:
        try:
            if to.startswith(("http://", "https://")):
                for event in batch:
                    post(to, json=event)
            else:
                Path(to).parent.mkdir(parents=True, exist_ok=True)
                with Path(to).open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps(event, ensure_ascii=False) + "\n" for event in batch)
        except (Refused, TryLater, OSError) as error:  # the rest of the batch would fare no better, and take as long
            why = error.strerror if isinstance(error, OSError) else error
            say(f"lineage: the {batch[0]['eventType']} of this run could not be told: {why}; the run goes on")
