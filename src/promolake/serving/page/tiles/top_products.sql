-- The five products that sold best since the promotion began, by amount, per currency; equals in the order of gold.top_products.
SELECT currency, product_id, SUM(sales_amount) AS sales_amount, CAST(SUM(unit_count) AS BIGINT) AS unit_count
FROM sums.sales_per_product_per_minute
GROUP BY currency, product_id
QUALIFY ROW_NUMBER() OVER (PARTITION BY currency ORDER BY SUM(sales_amount) DESC, product_id) <= 5
ORDER BY currency, sales_amount DESC, product_id
