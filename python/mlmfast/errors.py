"""Exceptions and warnings of mlmfast.

Every message says what was wrong, what was found and what to do about it.
"""

from __future__ import annotations

import sys
import warnings


class MlmError(ValueError):
    """Base of every error that bad input can raise.

    Examples
    --------
    >>> issubclass(FormulaError, MlmError) and issubclass(MlmError, ValueError)
    True
    """


class FormulaError(MlmError):
    """The formula cannot be read, or uses something that formulas may not use."""


class DataError(MlmError):
    """The data cannot serve the model: a column is missing, of a wrong type, or empty."""


class ModelError(MlmError):
    """The model is not one that can be fitted to these data, or not one this version offers."""


class ComparisonError(MlmError):
    """Two fits cannot be compared, for example REML fits with different fixed effects."""


class ConvergenceWarning(UserWarning):
    """The fit ended without a certificate of convergence."""


class SingularFitWarning(UserWarning):
    """The estimate lies on the boundary: a variance is 0 or a correlation is +-1."""


class RelationshipWarning(UserWarning):
    """A known relationship matrix is singular: effects of some levels are functions of others'."""


class AliasedWarning(UserWarning):
    """Columns of X that depend linearly on earlier ones were left out."""


class NonEstimableWarning(UserWarning):
    """Something asked for is no function of what the data determine, and is NaN."""


class DifferentContrastsWarning(UserWarning):
    """A coefficient of one name means different things in the fits of a batch."""


class SuspectValueWarning(UserWarning):
    """A column holds values that look like another program's zero, read wrongly."""


class SpacingWarning(UserWarning):
    """Visits of a structure over ordered steps are not equally spaced, or in another order."""


class MixedVersionsWarning(UserWarning):
    """Results are added to those that other versions of the programs made."""


def warn(message: str, category: type[Warning]) -> None:
    """Warn, with the blame on the line outside of this package that led here."""
    package = __name__.partition(".")[0]
    level, frame = 1, sys._getframe(0)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
