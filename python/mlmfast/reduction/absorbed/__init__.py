"""A factor of many levels in the fixed part, eliminated instead of held as columns of X."""
