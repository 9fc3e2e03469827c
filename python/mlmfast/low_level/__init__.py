"""The likelihood of a linear mixed model from arrays, for other packages; needs NumPy alone.

What stands here keeps its names, arguments and meaning within a major version.
"""

from mlmfast.low_level.answers import GLS, Estimate, RandomEffect
from mlmfast.low_level.reduction import Reduction

__all__ = ["GLS", "Estimate", "RandomEffect", "Reduction"]
