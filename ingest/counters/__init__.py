"""What is counted and remembered between requests, in Valkey for all workers and hosts, or in this process alone."""
