"""PostgreSQL: the way to it, its schema, and every query by name."""
