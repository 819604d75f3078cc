"""The nouns of the house. Nothing here reads, writes, or imports Spark at run time."""
