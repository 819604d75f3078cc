-- How often late rows have restated a minute, per source: revision 0 is never listed, a minute without a row here stands as first given.
SELECT
    source,
    window_start,
    count(*) AS revision,
    sum(late_count) AS late_count,
    max(ingested_at) AS restated_at
FROM ops.restatements
GROUP BY source, window_start
