"""Measures of performance, each with its Monte Carlo standard error."""
