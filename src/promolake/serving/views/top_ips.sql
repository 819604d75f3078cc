-- Which addresses ask most often?
-- One row per span, window_start and rank 1 to 100; equals are ordered by ip. span 'hour' ranks each UTC hour,
-- 'whole promotion' everything there is. window_start inclusive, window_end exclusive; counts are requests.
--   span: `hour` or `whole promotion`.
--   window_start: First instant of the span, UTC.
--   window_end: First instant after it, UTC.
--   rank: 1 asks most.
--   ip: The address.
--   request_count: Its requests.
--   page_view_count: Those for a page.
--   failed_count: Those answered 4xx or 5xx.
WITH spans AS (
  SELECT
    'hour' AS span,
    DATE_TRUNC('hour', window_start) AS window_start,
    DATE_TRUNC('hour', window_start) + INTERVAL '1' HOUR AS window_end,
    ip,
    request_count,
    page_view_count,
    failed_count
  FROM gold.requests_per_ip_per_minute
  UNION ALL
  SELECT 'whole promotion' AS span, reach.window_start, reach.window_end, ip, request_count, page_view_count, failed_count
  FROM gold.requests_per_ip_per_minute
  CROSS JOIN (SELECT MIN(window_start) AS window_start, MAX(window_end) AS window_end FROM gold.requests_per_ip_per_minute) AS reach
),
asked AS (
  SELECT
    span,
    window_start,
    window_end,
    ip,
    CAST(SUM(request_count) AS BIGINT) AS request_count,
    CAST(SUM(page_view_count) AS BIGINT) AS page_view_count,
    CAST(SUM(failed_count) AS BIGINT) AS failed_count
  FROM spans
  GROUP BY span, window_start, window_end, ip
),
ranked AS (
  SELECT
    span,
    window_start,
    window_end,
    CAST(ROW_NUMBER() OVER (PARTITION BY span, window_start ORDER BY request_count DESC, ip) AS INT) AS rank,
    ip,
    request_count,
    page_view_count,
    failed_count
  FROM asked
)
SELECT span, window_start, window_end, rank, ip, request_count, page_view_count, failed_count
FROM ranked
WHERE rank <= 100
