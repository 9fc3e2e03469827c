"""Observed and expected information of the covariance parameters."""
