"""What others promise to send: one topic per file."""

from promolake.sources import access, logs, metrics, orders, searches, views

TOPICS = (searches.TOPIC, views.TOPIC, orders.TOPIC, access.TOPIC, metrics.TOPIC, logs.TOPIC)
