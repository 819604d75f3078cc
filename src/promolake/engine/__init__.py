"""The only rooms with side effects on the lake: session, Kafka, Delta, the runner. A flow declares; here it is decided and done."""
