-- Searches, product views and orders of the newest UTC day.
SELECT
  day,
  CAST(SUM(search_count) AS BIGINT) AS search_count,
  CAST(SUM(view_count) AS BIGINT) AS view_count,
  CAST(SUM(order_count) AS BIGINT) AS order_count
FROM sums.funnel_per_minute
WHERE day = (SELECT MAX(day) FROM sums.funnel_per_minute)
GROUP BY day
