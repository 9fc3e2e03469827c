"""Distributions and adjustments for many comparisons."""
