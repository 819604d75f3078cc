-- Which five products sell best, by amount and by units?
-- One row per span, ranked_by ('amount', 'units'), window_end, currency and rank 1 to 5; equals are ordered by product_id.
-- span '5 minutes' slides by one minute and has a Top-5 for every window_end with a sale in the five minutes before it;
-- 'last hour' and 'whole promotion' end at the newest minute with a sale in any currency, not at the clock.
-- sales_amount is in `currency`; amounts and units of different currencies are never added.
--   span: `5 minutes`, `last hour` or `whole promotion`.
--   ranked_by: `amount` or `units`.
--   window_end: First instant after the span, UTC.
--   currency: ISO 4217 code.
--   rank: 1 sells best.
--   product_id: The product.
--   sales_amount: Sum of its sales in the span, in `currency`.
--   unit_count: Units sold in the span.
WITH newest AS (
  SELECT MAX(window_end) AS window_end FROM gold.sales_per_product_per_minute
),
spans AS (
  SELECT '5 minutes' AS span, sales.window_end + step.minutes * INTERVAL '1' MINUTE AS window_end, currency, product_id, sales_amount, unit_count
  FROM gold.sales_per_product_per_minute AS sales
  CROSS JOIN (VALUES (0), (1), (2), (3), (4)) AS step(minutes)
  UNION ALL
  SELECT 'last hour' AS span, newest.window_end, currency, product_id, sales_amount, unit_count
  FROM gold.sales_per_product_per_minute AS sales
  CROSS JOIN newest
  WHERE sales.window_start >= newest.window_end - INTERVAL '1' HOUR
  UNION ALL
  SELECT 'whole promotion' AS span, newest.window_end, currency, product_id, sales_amount, unit_count
  FROM gold.sales_per_product_per_minute AS sales
  CROSS JOIN newest
),
sold AS (
  SELECT
    span,
    spans.window_end,
    currency,
    product_id,
    CAST(SUM(sales_amount) AS DECIMAL(28, 4)) AS sales_amount,
    CAST(SUM(unit_count) AS BIGINT) AS unit_count
  FROM spans
  CROSS JOIN newest
  WHERE spans.window_end <= newest.window_end
  GROUP BY span, spans.window_end, currency, product_id
),
ranked AS (
  SELECT
    span,
    ranked_by,
    window_end,
    currency,
    CAST(
      ROW_NUMBER() OVER (
        PARTITION BY span, ranked_by, window_end, currency
        ORDER BY CASE WHEN ranked_by = 'amount' THEN sales_amount ELSE unit_count END DESC, product_id
      ) AS INT
    ) AS rank,
    product_id,
    sales_amount,
    unit_count
  FROM sold
  CROSS JOIN (VALUES ('amount'), ('units')) AS measure(ranked_by)
)
SELECT span, ranked_by, window_end, currency, rank, product_id, sales_amount, unit_count
FROM ranked
WHERE rank <= 5
