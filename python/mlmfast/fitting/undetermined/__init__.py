"""Covariance parameters that the data do not determine: found, held, named."""
