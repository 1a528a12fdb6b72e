"""From records to rows in PostgreSQL, each event once."""
