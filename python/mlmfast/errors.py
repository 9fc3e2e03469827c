"""Exceptions and warnings of mlmfast.

Every message says what was wrong, what was found and what to do about it.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlmfast.catalogue.entry import Notice


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


class UnknownArgumentError(ModelError, TypeError):
    """A function was called with an argument that it does not have."""


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


def warn(message: str, category: type[Warning], *codes: str) -> None:
    """Warn, with the blame on the line outside of this package that led here.

    Parameters
    ----------
    codes
        What it is in `mlmfast.catalogue`. The message ends with them, and the warning holds them as
        ``codes``. None only where the warning of another package is passed on.
    """
    from mlmfast.catalogue.codes import with_codes
    from mlmfast.catalogue.entry import Notice

    package = __name__.partition(".")[0]
    level, frame = 1, sys._getframe(0)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        level, frame = level + 1, frame.f_back
    warning: Any = category(with_codes(message, codes))
    warning.codes = codes
    for heard in _LISTENING.get():
        heard += [Notice(code, message) for code in codes]
    warnings.warn(warning, stacklevel=level)


def pass_on(said: Sequence[Warning | str], category: type[Warning], more: str = "") -> None:
    """Warn of what was caught: the first of several, with the codes of all.

    Parameters
    ----------
    more
        What follows the message.
    """
    from mlmfast.catalogue.codes import without_codes

    codes = dict.fromkeys(code for one in said for code in getattr(one, "codes", ()))
    warn(without_codes(str(said[0])) + more, category, *codes)


#: Lists that take down what is said; those of inner ``with`` blocks last.
_LISTENING: ContextVar[tuple[list[Notice], ...]] = ContextVar("listening", default=())


class taken_down:  # noqa: N801 - it stands behind `with`, as a function would
    """What is warned of inside a ``with`` block, which is said none the less.

    Examples
    --------
    >>> with warnings.catch_warnings(), taken_down() as heard:
    ...     warnings.simplefilter("ignore")
    ...     warn("a variance is 0", SingularFitWarning, "MLM401")
    >>> heard
    [Notice(code='MLM401', message='a variance is 0')]
    """

    def __enter__(self) -> list[Notice]:
        heard: list[Notice] = []
        self._token = _LISTENING.set((*_LISTENING.get(), heard))
        return heard

    def __exit__(self, *_: object) -> None:
        _LISTENING.reset(self._token)
