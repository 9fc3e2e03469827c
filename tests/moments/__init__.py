"""Estimates of variances by moments."""
