"""What becomes of a batch's records: each ends in exactly one of silver, quarantine or the duplicates' count."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from promolake.core.flow import Ingest
from promolake.core.table import Table
from promolake.engine.seen import SeenEvents
from promolake.silver.entity import ROW, VIOLATIONS

ID_CONFLICT = "id_conflict"


@dataclass(frozen=True)
class Fates:
    """One topic's records of a batch, each in exactly one of the last three tables (a conflict is quarantined)."""

    bronze: pa.Table
    valid: pa.Table
    quarantined: pa.Table
    duplicate: pa.Table


def fates(parsed_records: pa.Table, flow: Ingest, seen: SeenEvents) -> Fates:
    """In: the flow's records as parsed (engine/parsing.py). Out: what becomes of each. Nothing is remembered in `seen` yet."""
    kept = pc.is_valid(parsed_records[ROW])
    good = parsed_records.filter(kept)
    rows = unpacked(good, flow)
    sorted_ = seen.sort(rows)
    conflicts = good.filter(pa.array(sorted_.is_conflict)).select(list(_without(flow.quarantine, VIOLATIONS)))
    conflicts = conflicts.append_column(VIOLATIONS, pa.array([[ID_CONFLICT]] * conflicts.num_rows, pa.list_(pa.string())))
    broken = parsed_records.filter(pc.invert(kept)).select(list(flow.quarantine.column_names))
    return Fates(
        bronze=parsed_records.select(list(flow.bronze.column_names)),
        valid=rows.filter(pa.array(sorted_.is_new)),
        quarantined=pa.concat_tables([broken, conflicts.select(broken.column_names).cast(broken.schema)]),
        duplicate=rows.filter(pa.array(sorted_.is_duplicate)),
    )


def unpacked(good: pa.Table, flow: Ingest) -> pa.Table:
    """The entity's rows out of the struct they were parsed into."""
    packed = good[ROW].combine_chunks()
    names = [column for column in flow.table.column_names if column != "ingested_at"]
    columns = {name: packed.field(name) for name in names} | {"ingested_at": good["ingested_at"]}
    return pa.table({name: columns[name] for name in flow.table.column_names})


def _without(table: Table, name: str) -> tuple[str, ...]:
    return tuple(column for column in table.column_names if column != name)
