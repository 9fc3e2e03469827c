"""Formula and data as arrays: X, Z by grouping factor, the residual covariance asked for."""

from mlmfast.design.design import Design

__all__ = ["Design"]
