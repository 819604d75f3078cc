"""From figures to people: rule -> alert -> outbox -> channels."""
