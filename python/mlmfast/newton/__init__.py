"""Newton-Raphson for many criteria at once: the iteration, its settings, its step."""

from mlmfast.newton.iteration import Derivatives, NewtonResult, newton_raphson
from mlmfast.newton.options import NewtonOptions

__all__ = ["Derivatives", "NewtonOptions", "NewtonResult", "newton_raphson"]
