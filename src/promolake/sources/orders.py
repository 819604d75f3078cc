"""shop.orders: one message per order line and change of its status."""

from promolake.core.topic import Field, Topic

STATUSES = ("PLACED", "PAID", "CANCELLED", "REFUNDED")

TOPIC = Topic(
    name="shop.orders",
    description="Order lines: placed, paid, cancelled, refunded. Keyed by order so that the lines of one order keep their sequence.",
    codec="json",
    key="order_id",
    fields=(
        Field("event_id", "id", "Unique per message; a repeated id is the same event sent again.", required=True),
        Field("event_time", "time", "When the status came about.", required=True),
        Field("order_id", "id", "The order.", required=True),
        Field("line_number", "integer", "The line within the order, from 1.", required=True, minimum=0, maximum=100_000),
        Field("user_id", "id", "The buyer; null for a guest.", sensitive="user"),
        Field("product_id", "id", "The product.", required=True),
        Field("category", "text", "The product's category."),
        Field(
            "quantity",
            "integer",
            "Units; negative only on cancelled and refunded lines.",
            required=True,
            minimum=-1_000_000_000,
            maximum=1_000_000_000,
        ),
        Field("unit_price", "decimal", "Price of one unit, up to 4 decimal places; 0 is a gift.", required=True),
        Field("currency", "id", "ISO 4217 code, three capitals.", required=True),
        Field("status", "code", "What happened to the line.", required=True, one_of=STATUSES),
        Field("coupon_id", "id", "The coupon used, if any."),
        Field("channel", "id", "app, web, mini-program, store ..."),
        Field("ip", "ip", "The client's address as our own edge saw it."),
        Field("receiver.name", "text", "Who receives the parcel.", sensitive="name"),
        Field("receiver.phone", "text", "The receiver's phone.", sensitive="phone"),
        Field("receiver.email", "text", "The receiver's e-mail.", sensitive="email"),
        Field("receiver.address", "text", "Where the parcel goes.", sensitive="address"),
        Field("payment.method", "id", "card, wallet, transfer ..."),
        Field("payment.card_number", "text", "The card's number.", sensitive="card"),
    ),
    examples=(
        '{"event_id":"o-1","event_time":"2026-11-11T00:00:00.120+08:00","order_id":"A1","line_number":1,"user_id":"u7",'
        '"product_id":"p42","category":"shoes","quantity":2,"unit_price":"19.9000","currency":"CNY","status":"PAID",'
        '"coupon_id":null,"channel":"app","ip":"203.0.113.9","receiver":{"name":"Li Lei","phone":"13812345678",'
        '"email":"li.lei@example.com","address":"1 Example Road, Hangzhou"},'
        '"payment":{"method":"card","card_number":"4111111111111111"}}',
    ),
)
