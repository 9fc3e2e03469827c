"""The iterative engine: crossed random effects past what a factorisation can hold."""

from mlmfast.iterative.fit import fit_iteratively
from mlmfast.iterative.monte_carlo import MonteCarloError, monte_carlo_error
from mlmfast.iterative.reduction import moment_start, reduce_iteratively
from mlmfast.iterative.settings import IterativeSettings

__all__ = [
    "IterativeSettings",
    "MonteCarloError",
    "fit_iteratively",
    "moment_start",
    "monte_carlo_error",
    "reduce_iteratively",
]
