"""Cluster-robust covariances of the fixed effects, and tests with them."""
