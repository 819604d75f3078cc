"""promolake: a lakehouse for the promotion days of e-commerce that proves its numbers."""

__version__ = "0.1.0"
