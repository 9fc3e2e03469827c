"""Fits of designs of one shape together: their reductions, and the batch of their fits."""
