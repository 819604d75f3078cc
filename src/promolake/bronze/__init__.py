"""The Kafka envelope kept whole: one append-only table per topic, nothing parsed, nothing lost."""
