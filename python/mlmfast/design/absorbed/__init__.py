"""A factor of many levels in the fixed part that is eliminated."""
