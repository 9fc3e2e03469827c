"""Denominator degrees of freedom by name: `mlmfast.inference.degrees_of_freedom` for outside."""

from mlmfast.inference.degrees_of_freedom import *  # noqa: F403
from mlmfast.inference.degrees_of_freedom import __all__ as __all__
