"""One file for each platform: what it takes, and what it means by its answers."""
