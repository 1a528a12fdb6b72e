"""Every statement that the service sends to PostgreSQL, by name, with what it takes and what it returns."""
