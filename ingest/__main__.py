"""`python -m ingest` is the console command `ingest`."""

from ingest.cli import main

main()
