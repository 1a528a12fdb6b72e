"""From conversions to the platforms' Conversions APIs: each to exactly one outcome per platform."""
