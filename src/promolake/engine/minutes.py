"""Which minutes a batch touched, and all of silver's rows in them: what a replacing metric is computed from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from promolake.core.flow import Reads
from promolake.engine.lakehouse import Lakehouse, time_ranges

_MINUTE = timedelta(minutes=1)
MAX_RANGES = 64  # of minutes in one condition; closer ones are read as one range


def touched_rows(lake: Lakehouse, reads: Sequence[Reads], times: Sequence[pa.ChunkedArray]) -> list[pa.Table]:
    """All rows of silver, per input, of the minutes in which any of the event times lies."""
    minutes = pc.unique(pa.concat_arrays([pc.floor_temporal(t, unit="minute").combine_chunks() for t in times])).sort()
    condition = time_ranges("event_time", joined_up([(minute, minute + _MINUTE) for minute in minutes.to_pylist()]))
    found = (lake.read(one.table, one.columns, condition) for one in reads)
    # Far apart minutes are read as one range, so what lies between is taken out again.
    return [rows.filter(pc.is_in(pc.floor_temporal(rows["event_time"], unit="minute"), value_set=minutes)) for rows in found]


def joined_up(ranges: list[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    """Sorted half-open ranges with neighbours united, and then the narrowest gaps closed until at most MAX_RANGES are left."""
    united = [list(ranges[0])] if ranges else []
    for low, high in ranges[1:]:
        if low <= united[-1][1]:
            united[-1][1] = high
        else:
            united.append([low, high])
    if len(united) > MAX_RANGES:
        gaps = sorted(range(1, len(united)), key=lambda n: united[n][0] - united[n - 1][1], reverse=True)[: MAX_RANGES - 1]
        starts = [0, *sorted(gaps)]
        ends = [*starts[1:], len(united)]
        return [(united[start][0], united[end - 1][1]) for start, end in zip(starts, ends, strict=True)]
    return [(low, high) for low, high in united]
