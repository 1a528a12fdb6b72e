"""The tokens by which platforms know us: sealed in the database, opened by those alone who have the key."""
