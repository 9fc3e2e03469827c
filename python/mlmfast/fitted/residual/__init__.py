"""The residual covariance of a fit: over visits, at points, as it is kept."""
