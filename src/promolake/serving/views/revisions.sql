-- How often have late rows restated a minute, per source?
-- One row per source and minute that was restated; a minute without a row stands as first given. late_count is the rows that did it,
-- restated_at when the last of them was taken in, UTC.
--   source: The silver table the late rows went into.
--   window_start: First instant of the minute, UTC.
--   revision: How often it was restated.
--   late_count: The late rows that did it.
--   restated_at: When the last of them was taken in, UTC.
SELECT
  source,
  window_start,
  CAST(COUNT(*) AS BIGINT) AS revision,
  CAST(SUM(late_count) AS BIGINT) AS late_count,
  MAX(ingested_at) AS restated_at
FROM ops.restatements
GROUP BY source, window_start
