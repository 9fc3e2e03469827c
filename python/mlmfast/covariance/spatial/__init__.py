"""Covariance structures over distances between points, one file each."""
