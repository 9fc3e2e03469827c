"""Formula and data as arrays: X, Z by grouping factor, the residual covariance asked for."""

from mlmfast.design.design import Design
from mlmfast.running.callable_package import make_callable

__all__ = ["Design"]

# `mlmfast.design(...)` makes a design without data; `mlmfast.design.Design` is the package's.
make_callable("mlmfast.design", "mlmfast.simulation.make", "design")
