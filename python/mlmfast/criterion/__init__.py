"""The criteria that Newton's method minimises, as functions of the covariance parameters."""
