"""Forms in which a residual covariance reaches the core."""
