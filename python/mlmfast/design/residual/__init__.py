"""What ``residual=`` and ``residual_scale=`` say, read against the data."""
