"""Parsed, valid, deduplicated, masked: one entity per file; what breaks a rule goes to its quarantine, whole."""
