"""Covariance structures over levels or visits, one file each."""
