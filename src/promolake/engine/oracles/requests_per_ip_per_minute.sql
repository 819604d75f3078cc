-- Who asked how often in each minute.
SELECT
  to_timestamp(60 * (epoch_us(event_time) // 60000000)) AS window_start,
  to_timestamp(60 * (epoch_us(event_time) // 60000000) + 60) AS window_end,
  ip,
  count(*) AS request_count,
  count(*) FILTER (WHERE is_page_view) AS page_view_count,
  count(*) FILTER (WHERE status >= 400 AND status < 600) AS failed_count
FROM silver.requests
GROUP BY ALL
