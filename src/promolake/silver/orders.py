"""silver.orders: every status change of every order line, valid, once, masked."""

from __future__ import annotations

from pyspark.sql import Column as SparkColumn

from promolake.columns import masking as m
from promolake.core.rule import Row, Rule
from promolake.core.table import Column
from promolake.silver.entity import ingest
from promolake.sources.orders import TOPIC

RULES = (
    Rule(
        "paid_quantity_positive",
        "A placed or paid line is for at least one unit.",
        lambda line: ~line("status").isin("PAID", "PLACED") | (line("quantity") > 0),
    ),
    Rule("price_not_negative", "A price is not negative; 0 is a gift.", lambda line: line("unit_price") >= 0),
    Rule("currency_code", "A currency is three capitals (ISO 4217).", lambda line: line("currency").rlike("^[A-Z]{3}$")),
)


def projection(line: Row) -> dict[str, SparkColumn]:
    phone, email = line("receiver_phone"), line("receiver_email")
    return {
        "order_id": line("order_id"),
        "line_number": line("line_number"),
        "user_hash": m.pseudonym(line("user_id")),
        "product_id": line("product_id"),
        "category": line("category"),
        "quantity": line("quantity"),
        "unit_price": line("unit_price"),
        "line_amount": line("quantity").try_cast("decimal(10,0)") * line("unit_price").try_cast("decimal(18,4)"),
        "currency": line("currency"),
        "status": line("status"),
        "coupon_id": line("coupon_id"),
        "channel": line("channel"),
        "ip": line("ip"),
        "receiver_name_masked": m.name_masked(line("receiver_name")),
        "receiver_phone_masked": m.phone_masked(phone),
        "receiver_phone_hash": m.pseudonym(m.phone_digits(phone)),
        "receiver_email_masked": m.email_masked(email),
        "receiver_email_hash": m.pseudonym(m.email_normal(email)),
        "receiver_address_masked": m.address_masked(line("receiver_address")),
        "payment_method": line("payment_method"),
        "card_number_masked": m.card_masked(line("payment_card_number")),
    }


FLOW = ingest(
    TOPIC,
    "orders",
    "Order lines by status: PLACED, PAID, CANCELLED, REFUNDED.",
    (
        Column("order_id", "string", "The order."),
        Column("line_number", "bigint", "The line within the order."),
        Column("user_hash", "string", "Pseudonym of the buyer; NULL for a guest."),
        Column("product_id", "string", "The product."),
        Column("category", "string", "The product's category."),
        Column("quantity", "bigint", "Units."),
        Column("unit_price", "decimal(18,4)", "Price of one unit, in `currency`."),
        Column("line_amount", "decimal(28,4)", "quantity x unit_price, in `currency`."),
        Column("currency", "string", "ISO 4217 code; amounts of different currencies are never added."),
        Column("status", "string", "PLACED, PAID, CANCELLED or REFUNDED."),
        Column("coupon_id", "string", "The coupon used."),
        Column("channel", "string", "Where the order was made."),
        Column("ip", "string", "The client's address."),
        Column("receiver_name_masked", "string", "First character only."),
        Column("receiver_phone_masked", "string", "138****5678."),
        Column("receiver_phone_hash", "string", "Pseudonym of the phone's digits."),
        Column("receiver_email_masked", "string", "l***@example.com."),
        Column("receiver_email_hash", "string", "Pseudonym of the e-mail in lower case."),
        Column("receiver_address_masked", "string", "*** where there was one."),
        Column("payment_method", "string", "How it was paid."),
        Column("card_number_masked", "string", "****1111."),
    ),
    projection,
    RULES,
)
