"""Models: designs prepared once, fitted as often as wanted."""
