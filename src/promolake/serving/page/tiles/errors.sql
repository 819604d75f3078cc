-- ERROR events and all events, each minute of the last hour.
SELECT window_start, CAST(SUM(error_count) AS BIGINT) AS error_count, CAST(SUM(event_count) AS BIGINT) AS event_count
FROM recent.errors_per_minute
GROUP BY window_start
ORDER BY window_start
