-- What a day's funnel needs.
SELECT
  CAST(window_start AS DATE) AS day,
  SUM(search_count) AS search_count,
  SUM(view_count) AS view_count,
  SUM(order_count) AS order_count
FROM file
GROUP BY CAST(window_start AS DATE)
