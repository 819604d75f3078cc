-- Each paid line with the last view of its product and the last search by its buyer, at most 30 minutes before and not after it:
-- the touches of a line are ranked, latest first, of equals the greater id, and the first is taken.
WITH paid AS (
  SELECT
    event_id,
    event_time,
    order_id,
    line_number,
    user_hash,
    product_id,
    currency,
    CAST(CAST(quantity AS DECIMAL(10, 0)) * unit_price AS DECIMAL(28, 4)) AS line_amount
  FROM silver.orders
  WHERE status = 'PAID'
),
viewed AS (
  SELECT
    line.event_id,
    line.event_time,
    touch.event_id AS view_id,
    touch.event_time AS viewed_at,
    row_number() OVER (PARTITION BY line.event_id, line.event_time ORDER BY touch.event_time DESC, touch.event_id DESC) AS place
  FROM paid AS line
  JOIN silver.views AS touch
    ON touch.user_hash = line.user_hash
    AND touch.product_id = line.product_id
    AND touch.event_time BETWEEN line.event_time - INTERVAL 30 MINUTES AND line.event_time
),
searched AS (
  SELECT
    line.event_id,
    line.event_time,
    touch.event_id AS search_id,
    touch.event_time AS searched_at,
    row_number() OVER (PARTITION BY line.event_id, line.event_time ORDER BY touch.event_time DESC, touch.event_id DESC) AS place
  FROM paid AS line
  JOIN silver.searches AS touch
    ON touch.user_hash = line.user_hash
    AND touch.event_time BETWEEN line.event_time - INTERVAL 30 MINUTES AND line.event_time
)
SELECT paid.*, view_id, viewed_at, search_id, searched_at
FROM paid
LEFT JOIN viewed ON viewed.event_id = paid.event_id AND viewed.event_time = paid.event_time AND viewed.place = 1
LEFT JOIN searched ON searched.event_id = paid.event_id AND searched.event_time = paid.event_time AND searched.place = 1
