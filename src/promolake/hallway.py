"""The architecture on one screen: every flow, in the order data walks through the house. It only ever walks forward.

Kafka topic ==> bronze (raw bytes) ==> silver (valid, once, masked) ==> gold (one row per grain) ==> views
                                   `=> silver.quarantine_* (the row and every rule it broke)
"""

from promolake.core.flow import Hallway
from promolake.gold import (
    attributed_orders,
    errors_per_minute,
    forwarded_errors,
    funnel_per_minute,
    gmv_per_minute,
    machine_metrics_per_minute,
    requests_per_ip_per_minute,
    sales_per_product_per_minute,
    traffic_per_minute,
)
from promolake.silver import log_events, machine_metrics, orders, requests, searches, views

HALLWAY = Hallway(
    # Kafka -> bronze -> silver: one topic, one entity
    ingests=(
        searches.FLOW,
        views.FLOW,
        orders.FLOW,
        requests.FLOW,
        machine_metrics.FLOW,
        log_events.FLOW,
    ),
    # silver -> gold, in the same micro-batch
    metrics=(
        gmv_per_minute.FLOW,
        sales_per_product_per_minute.FLOW,
        traffic_per_minute.FLOW,
        requests_per_ip_per_minute.FLOW,
        machine_metrics_per_minute.FLOW,
        errors_per_minute.FLOW,
        funnel_per_minute.FLOW,
    ),
    # silver ~> gold, stream-stream joins under watermarks, on a trigger of their own
    joins=(attributed_orders.FLOW,),
    # silver -> Kafka
    forwards=(forwarded_errors.FLOW,),
)
