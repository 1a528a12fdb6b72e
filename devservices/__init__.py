"""Servers that tests, benchmarks and `ingest dev` start for themselves; part of the checkout, never of the wheel."""
