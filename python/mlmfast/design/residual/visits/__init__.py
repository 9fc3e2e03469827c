"""Visits of a residual covariance: those of rows, their sequence, their steps."""
