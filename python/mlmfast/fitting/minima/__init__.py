"""The least of several minima, those at which a covariance is singular among them."""
