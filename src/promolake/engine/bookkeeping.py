"""Are the books right? The ledger's ranges of offsets meet, its counts add up, and what it says of each fate stands in a table.

Rows with a `read_count` of 0 are corrections (rows that left quarantine for silver later): they read nothing, so they have no part in
the ranges, but their counts belong to the sums. Kafka itself leaves offsets out (markers of transactions, records of aborted ones,
compaction): an offset nothing was read at is a hole unless the broker says that it gives nobody a record there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import duckdb

from promolake.core.flow import Ingest
from promolake.engine.comparing import POSITION, Finding
from promolake.engine.lakehouse import Lakehouse
from promolake.engine.ledger import LEDGER
from promolake.engine.scratch import scratch

_COUNTS = ("read_count", "valid_count", "quarantined_count", "duplicate_count")
_RANGE = ("topic", "partition", "first_offset", "last_offset")
Kept = Callable[[str, Iterable[tuple[int, int, int]]], "set[tuple[int, int]] | None"]
"""Which offsets of a topic's ranges (partition, first, last) hold a record for a reader, as (partition, offset); None: nobody can tell."""
RANGES_ASKED = 10_000  # at a time: there is one for each transaction, and each may hold records
_BRONZE, _SILVER, _QUARANTINE = "bronze_rows", "silver_rows", "quarantine_rows"

# Each ranges over `wrong`: what is amiss, one row each, with `said` in words. Nothing here shows more than positions and counts.
_RANGES = """
WITH ranges AS (
  SELECT "partition", first_offset, last_offset, read_count, max(last_offset) OVER (
    PARTITION BY "partition" ORDER BY first_offset, last_offset ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
  ) AS before
  FROM ledger WHERE read_count > 0
),
-- A topic that lost its oldest records before the first batch does not begin at 0: then the ledger begins where bronze does.
begins AS (SELECT "partition", min("offset") AS begin FROM bronze_rows GROUP BY ALL),
expected AS (
  SELECT ranges.*, coalesce(before + 1, least(first_offset, coalesce(begin, 0))) AS due FROM ranges LEFT JOIN begins USING ("partition")
)
SELECT CASE
    WHEN first_offset < due THEN format('partition {}: {} to {} overlaps what was read before', "partition", first_offset, last_offset)
    ELSE format('partition {}: {} records in {} to {}', "partition", read_count, first_offset, last_offset)
  END AS said
FROM expected
WHERE first_offset < due OR read_count > last_offset - first_offset + 1
UNION ALL
SELECT format('partition {}: offsets {} to {} are a hole', "partition", first_missing, last_missing) FROM holes
ORDER BY 1
"""
# Offsets nothing was read at: between two ranges, or in one that read fewer records than it has offsets.
_MISSING = """
WITH due_at AS (
  SELECT "partition", first_offset, last_offset, read_count, max(last_offset) OVER (
    PARTITION BY "partition" ORDER BY first_offset, last_offset ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
  ) + 1 AS due
  FROM ledger WHERE read_count > 0
),
begins AS (SELECT "partition", min("offset") AS begin FROM bronze_rows GROUP BY ALL),
short AS (SELECT * FROM due_at WHERE read_count < last_offset - first_offset + 1),
places AS (
  SELECT s."partition", s.first_offset, unnest([s.first_offset - 1, s.last_offset + 1]) AS "offset" FROM short s
  UNION ALL
  SELECT s."partition", s.first_offset, b."offset"
  FROM short s JOIN bronze_rows b ON s."partition" = b."partition" AND b."offset" BETWEEN s.first_offset AND s.last_offset
),
steps AS (SELECT *, lag("offset") OVER (PARTITION BY "partition", first_offset ORDER BY "offset") AS earlier FROM places)
SELECT "partition", coalesce(due, least(first_offset, coalesce(begin, 0))) AS first_missing, first_offset - 1 AS last_missing
FROM due_at LEFT JOIN begins USING ("partition")
WHERE first_offset > coalesce(due, least(first_offset, coalesce(begin, 0)))
UNION ALL
SELECT "partition", earlier + 1, "offset" - 1 FROM steps WHERE "offset" > earlier + 1
ORDER BY ALL
"""
_BALANCE = """
SELECT format('partition {}: {} read at {}, but {} valid, {} quarantined, {} duplicate',
  "partition", read_count, first_offset, valid_count, quarantined_count, duplicate_count) AS said
FROM ledger
WHERE read_count IS DISTINCT FROM valid_count + quarantined_count + duplicate_count
  OR read_count < 0 OR (read_count > 0 AND least(valid_count, quarantined_count, duplicate_count) < 0)
ORDER BY "partition", first_offset
"""
_BATCHES = """
WITH ranges AS (SELECT "partition", first_offset, last_offset, sum(read_count) AS said_count FROM ledger WHERE read_count > 0 GROUP BY ALL),
placed AS (
  SELECT b."partition", b."offset", r.first_offset
  FROM bronze_rows b ASOF LEFT JOIN ranges r ON b."partition" = r."partition" AND b."offset" >= r.first_offset
),
found AS (
  SELECT "partition", first_offset,
    count(*) FILTER (WHERE "offset" <= last_offset) AS n, count(*) FILTER (WHERE "offset" > last_offset) AS beyond
  FROM placed LEFT JOIN ranges USING ("partition", first_offset) GROUP BY ALL
)
SELECT format('partition {}: {} read from {} on, {} in bronze', "partition", said_count, first_offset, coalesce(n, 0)) AS said
FROM ranges LEFT JOIN found USING ("partition", first_offset)
WHERE said_count <> coalesce(n, 0) OR coalesce(beyond, 0) > 0
UNION ALL
SELECT format('partition {}: {} records of bronze stand in no range', "partition", count(*))
FROM placed WHERE first_offset IS NULL GROUP BY "partition"
ORDER BY 1
"""
_TOTALS = """
WITH told AS (
  SELECT "partition", sum(read_count) AS r, sum(valid_count) AS v, sum(quarantined_count) AS q, sum(duplicate_count) AS d
  FROM ledger GROUP BY ALL
),
held AS (
  SELECT "partition", sum(b) AS b, sum(s) AS s, sum(q) AS q
  FROM (
    SELECT "partition", 1 AS b, 0 AS s, 0 AS q FROM bronze_rows
    UNION ALL SELECT "partition", 0, 1, 0 FROM silver_rows
    UNION ALL SELECT "partition", 0, 0, 1 FROM quarantine_rows
  )
  GROUP BY ALL
)
SELECT format('partition {}: read {} valid {} quarantined {} duplicate {}; bronze {} silver {} quarantine {}', "partition",
  coalesce(r, 0), coalesce(v, 0), coalesce(told.q, 0), coalesce(d, 0), coalesce(b, 0), coalesce(s, 0), coalesce(held.q, 0)) AS said
FROM told FULL JOIN held USING ("partition")
WHERE (coalesce(r, 0), coalesce(v, 0), coalesce(told.q, 0), coalesce(d, 0))
  <> (coalesce(b, 0), coalesce(s, 0), coalesce(held.q, 0), coalesce(b - s - held.q, 0))
ORDER BY "partition"
"""
_PLACES = """
WITH places AS (
  SELECT 'bronze' AS place, * FROM bronze_rows
  UNION ALL SELECT 'silver', * FROM silver_rows
  UNION ALL SELECT 'quarantine', * FROM quarantine_rows
),
counted AS (
  SELECT "partition", "offset",
    count(*) FILTER (WHERE place = 'bronze') AS b,
    count(*) FILTER (WHERE place = 'silver') AS s,
    count(*) FILTER (WHERE place = 'quarantine') AS q
  FROM places GROUP BY ALL
)
SELECT format('partition {} offset {}: {} times in bronze, {} in silver, {} in quarantine', "partition", "offset", b, s, q) AS said
FROM counted
WHERE b <> 1 OR s + q > 1
ORDER BY "partition", "offset"
"""


def audited(lake: Lakehouse, flow: Ingest, kept: Kept | None = None) -> Iterator[Finding]:
    """What the books of one topic say, against themselves and against its three tables. Without `kept` every missing offset is a hole."""
    topic = flow.topic.name
    with scratch(lake) as database:
        database.take("ledger", LEDGER, (*_RANGE, *_COUNTS), f"topic = '{topic}'")
        for name, table in {_BRONZE: flow.bronze, _SILVER: flow.table, _QUARANTINE: flow.quarantine}.items():
            database.take(name, table, POSITION)
        _note_holes(database.connection, topic, kept)
        booked, bronze = database.count("ledger"), database.count(_BRONZE)
        for check, looked_at, sql in (
            ("offsets without hole or overlap", booked, _RANGES),
            ("read = valid + quarantined + duplicate", booked, _BALANCE),
            ("each batch is in bronze", bronze, _BATCHES),
            ("counts = rows of bronze, silver, quarantine", bronze, _TOTALS),
            ("each record in one place", bronze, _PLACES),
        ):
            yield _finding(database.connection, check, topic, looked_at, sql)


def _note_holes(connection: duckdb.DuckDBPyConnection, topic: str, kept: Kept | None) -> None:
    """Writes down as `holes` the ranges nothing was read at, as far as `kept` knows of a record there; they are asked about by parts."""
    connection.execute(f"CREATE TABLE missing AS {_MISSING}")
    if kept is None:
        connection.execute("ALTER TABLE missing RENAME TO holes")
        return
    connection.execute('CREATE TABLE holes ("partition" INT, first_missing BIGINT, last_missing BIGINT)')
    missing = connection.cursor().execute("SELECT * FROM missing ORDER BY ALL")
    while some := missing.fetchmany(RANGES_ASKED):
        found = kept(topic, some)
        if holes := some if found is None else _runs(found):
            connection.executemany("INSERT INTO holes VALUES (?, ?, ?)", holes)


def _runs(places: Iterable[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """(partition, offset)s as ranges (partition, first, last)."""
    runs: list[tuple[int, int, int]] = []
    for partition, offset in sorted(places):
        if runs and runs[-1][0] == partition and runs[-1][2] == offset - 1:
            runs[-1] = (partition, runs[-1][1], offset)
        else:
            runs.append((partition, offset, offset))
    return runs


def _finding(connection: duckdb.DuckDBPyConnection, check: str, subject: str, rows: int, sql: str) -> Finding:
    wrong = connection.sql(f"SELECT count(*), arg_min(said, n) FROM (SELECT said, row_number() OVER () AS n FROM ({sql}))")
    ((differing, example),) = wrong.fetchall()
    return Finding(check, subject, rows, differing, example or "")
