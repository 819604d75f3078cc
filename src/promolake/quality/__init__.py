"""Audits of what lies in the lake, off the hot path. The only room that imports great_expectations; only `promolake audit` enters it."""
