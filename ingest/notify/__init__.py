"""Delivers what the outbox holds: to the support and to organizations, by webhook and by mail."""
