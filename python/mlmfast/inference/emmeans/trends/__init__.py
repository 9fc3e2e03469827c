"""Slopes of covariates over the reference grid."""
