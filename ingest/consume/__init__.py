"""The loop that all consumers share: take records, do a step with them, remember how far it has come."""
