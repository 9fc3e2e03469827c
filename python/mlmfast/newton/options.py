"""Settings of Newton's iteration."""

from __future__ import annotations

from dataclasses import dataclass, fields
from numbers import Integral, Real

import numpy as np

from mlmfast.errors import ModelError


@dataclass(frozen=True)
class NewtonOptions:
    """Settings of the iteration.

    Parameters
    ----------
    tolerance
        Stop when the Newton decrement g'H^-1 g, twice the predicted fall of the criterion, is
        below this.
    max_iter
        Newton steps after which a row gives up. It limits the iteration from the first start;
        those from other starts have limits of their own, and none are tried where the first has
        reached its.
    max_halvings
        Trials along one step.
    max_scoring
        Trials along one scoring step.
    near
        Above this decrement scoring steps in the natural parameters are tried first.
    flat
        Below this scaled Hessian eigenvalue Newton steps in the natural parameters are tried
        first: towards a variance of about 0 they converge where steps in its root crawl.
    floor
        Scaled Hessian eigenvalues below this are treated as this.

    Examples
    --------
    >>> NewtonOptions().max_iter
    300
    """

    tolerance: float = 1e-9
    max_iter: int = 300
    max_halvings: int = 12
    floor: float = 1e-9
    max_scoring: int = 4
    near: float = 1.0
    flat: float = 0.05


def check_settings(options: NewtonOptions) -> None:
    """Refuse settings that are no numbers, or of which no iteration could come.

    Raises
    ------
    ModelError

    Examples
    --------
    >>> check_settings(NewtonOptions(max_iter=20))
    """
    for field in fields(options):
        value, whole = getattr(options, field.name), isinstance(field.default, int)
        kind = Integral if whole else Real
        if not isinstance(value, kind) or isinstance(value, bool) or not 0 < float(value) < np.inf:
            what = "whole number from 1 on" if whole else "positive number"
            raise ModelError(f"option {field.name!r} is {value!r}; a {what} is needed")
