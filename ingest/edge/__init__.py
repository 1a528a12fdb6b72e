"""The HTTP surface: limits, admission of requests, the client's address, and the processes that serve."""
