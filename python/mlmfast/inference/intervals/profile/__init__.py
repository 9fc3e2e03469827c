"""Profile likelihood: curves, sides, limits."""
