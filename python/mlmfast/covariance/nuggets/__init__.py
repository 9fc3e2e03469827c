"""Covariance structures over distances with a nugget: a variance that each row has of its own."""
