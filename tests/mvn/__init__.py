"""Tests of the multivariate normal distribution."""
