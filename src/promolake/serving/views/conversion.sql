-- How well do searches turn into views, views into orders, and how many paid lines follow a view or a search?
-- One row per minute with a search, a view, a sale or a paid line. views_per_search, orders_per_view and the two shares
-- (of paid_line_count, 0 to 1) are ratios of that minute's counts, NULL where there is nothing to divide by.
-- The attribution of the newest minutes is still coming in: a line without any shows once the watermark has passed it.
--   window_start: First instant of the minute, UTC.
--   window_end: First instant after the minute, UTC.
--   search_count: Searches; 0 where there were none.
--   view_count: Product views; 0 where there were none.
--   order_count: Distinct orders with a sale; 0 where there were none.
--   paid_line_count: Paid order lines.
--   views_per_search: Views for each search of the same minute.
--   orders_per_view: Orders for each view of the same minute.
--   viewed_line_share: Of the paid lines, those the buyer viewed the product before; 0 to 1.
--   searched_line_share: Of the paid lines, those the buyer searched before; 0 to 1.
SELECT
  window_start,
  window_start + INTERVAL '1' MINUTE AS window_end,
  COALESCE(search_count, 0) AS search_count,
  COALESCE(view_count, 0) AS view_count,
  COALESCE(order_count, 0) AS order_count,
  COALESCE(paid_line_count, 0) AS paid_line_count,
  CAST(view_count AS DOUBLE) / NULLIF(search_count, 0) AS views_per_search,
  CAST(order_count AS DOUBLE) / NULLIF(view_count, 0) AS orders_per_view,
  CAST(viewed_line_count AS DOUBLE) / NULLIF(paid_line_count, 0) AS viewed_line_share,
  CAST(searched_line_count AS DOUBLE) / NULLIF(paid_line_count, 0) AS searched_line_share
FROM gold.funnel_per_minute
FULL OUTER JOIN (
  SELECT
    DATE_TRUNC('minute', event_time) AS window_start,
    COUNT(*) AS paid_line_count,
    COUNT(view_id) AS viewed_line_count,
    COUNT(search_id) AS searched_line_count
  FROM gold.attributed_orders
  GROUP BY DATE_TRUNC('minute', event_time)
) AS paid USING (window_start)
