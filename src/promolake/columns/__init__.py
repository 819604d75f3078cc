"""Pure Column -> Column: payload checks, event time, money, masking, log-line parsing. No session, no I/O."""
