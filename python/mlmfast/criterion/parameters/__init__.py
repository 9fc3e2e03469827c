"""Covariance parameters as functions of what the iteration moves, and as people report them."""
