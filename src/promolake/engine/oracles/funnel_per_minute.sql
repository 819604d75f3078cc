-- Who searched, looked and bought: all happenings in one list, counted by what they are.
WITH happened AS (
  SELECT event_time, 'search' AS what, user_hash, NULL AS order_id FROM silver.searches
  UNION ALL
  SELECT event_time, 'view', user_hash, NULL FROM silver.views
  UNION ALL
  SELECT event_time, 'sale', user_hash, order_id FROM silver.orders WHERE status = 'PAID' AND quantity > 0 AND unit_price > 0
)
SELECT
  date_trunc('minute', event_time) AS window_start,
  date_trunc('minute', event_time) + INTERVAL 1 MINUTE AS window_end,
  count(*) FILTER (WHERE what = 'search') AS search_count,
  count(*) FILTER (WHERE what = 'view') AS view_count,
  count(DISTINCT order_id) AS order_count,
  count(DISTINCT user_hash) FILTER (WHERE what = 'search') AS searcher_count,
  count(DISTINCT user_hash) FILTER (WHERE what = 'view') AS viewer_count,
  count(DISTINCT user_hash) FILTER (WHERE what = 'sale') AS buyer_count
FROM happened
GROUP BY 1, 2
