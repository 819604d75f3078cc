-- What was sold in each minute, from the lines themselves: the amounts are multiplied out again instead of read.
WITH lines AS (
  SELECT
    date_trunc('minute', event_time) AS minute,
    currency,
    CASE WHEN category IS NULL THEN 'unknown' ELSE category END AS product_category,
    status,
    order_id,
    user_hash,
    quantity,
    CAST(CAST(quantity AS DECIMAL(10, 0)) * unit_price AS DECIMAL(28, 4)) AS amount,
    status = 'PAID' AND quantity > 0 AND unit_price > 0 AS sold
  FROM silver.orders
),
sales AS (
  SELECT
    minute,
    currency,
    product_category,
    sum(amount) AS gmv,
    count(*) AS lines,
    sum(quantity) AS units,
    count(DISTINCT order_id) AS orders,
    count(DISTINCT user_hash) AS buyers
  FROM lines
  WHERE sold
  GROUP BY ALL
),
others AS (
  SELECT
    minute,
    currency,
    product_category,
    sum(CASE status WHEN 'CANCELLED' THEN -abs(amount) WHEN 'REFUNDED' THEN -abs(amount) ELSE 0 END) AS refunds,
    sum(CASE status WHEN 'PLACED' THEN amount ELSE 0 END) AS ordered
  FROM lines
  GROUP BY ALL
)
SELECT
  minute AS window_start,
  minute + INTERVAL 60 SECONDS AS window_end,
  currency,
  product_category AS category,
  coalesce(gmv, 0) AS gmv_amount,
  refunds AS refund_amount,
  ordered AS ordered_amount,
  coalesce(orders, 0) AS order_count,
  CAST(coalesce(units, 0) AS BIGINT) AS unit_count,
  coalesce(buyers, 0) AS buyer_count,
  coalesce(lines, 0) AS sale_count
FROM others
LEFT JOIN sales USING (minute, currency, product_category)
