-- ERROR events beside all events of a service.
SELECT
  date_trunc('minute', event_time) AS window_start,
  date_trunc('minute', event_time) + INTERVAL 1 MINUTE AS window_end,
  ifnull(service, 'unknown') AS service,
  CAST(sum(CASE level WHEN 'ERROR' THEN 1 ELSE 0 END) AS BIGINT) AS error_count,
  count(*) AS event_count
FROM silver.log_events
GROUP BY 1, 2, 3
