-- Sales of each product, added up line by line with running sums, of which the last is kept.
WITH sold AS (
  SELECT
    time_bucket(INTERVAL 1 MINUTE, event_time) AS minute,
    currency,
    product_id,
    sum(CAST(CAST(quantity AS DECIMAL(10, 0)) * unit_price AS DECIMAL(28, 4))) OVER product AS amount_so_far,
    sum(quantity) OVER product AS units_so_far,
    row_number() OVER product AS lines_so_far,
    lead(1) OVER product IS NULL AS is_last
  FROM silver.orders
  WHERE status = 'PAID' AND quantity > 0 AND unit_price > 0
  WINDOW product AS (
    PARTITION BY time_bucket(INTERVAL 1 MINUTE, event_time), currency, product_id
    ORDER BY "partition", "offset" ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
  )
)
SELECT
  minute AS window_start,
  minute + INTERVAL 1 MINUTE AS window_end,
  currency,
  product_id,
  amount_so_far AS sales_amount,
  CAST(units_so_far AS BIGINT) AS unit_count,
  lines_so_far AS sale_count
FROM sold
WHERE is_last
