"""Fits by REML whose V = Z G Z' + R is singular, and what has no precision there.

A singular R may leave a combination of a subject's rows without any variance, which random effects
do not fill. Restricted likelihood has a finite maximum there where fixed effects take the
combination up: what log|V| falls by, log|X'V^-1 X| rises by (Harville 1974). They are then taken
as known along it, and derivatives by the covariance parameters, which go by V^-1, are rounding.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mlmfast.criterion.barrier import residual_parts
from mlmfast.fitting.covariance_fit import CovarianceFit
from mlmfast.fitting.minima.near_singular import smallest_eigenvalue
from mlmfast.fitting.minima.singular_ends import INVERTED
from mlmfast.information.of_fit import information_of
from mlmfast.reduction.engines.cores import is_through_v
from mlmfast.reduction.reduced_model import ReducedModel

#: Variance of a combination of the fixed effects of unit length, over the mean residual variance,
#: that is 0. It is no less than the smallest eigenvalue of V.
_KNOWN = 1e-6
#: What begins the notes of fits whose covariance parameters have no precision: V is singular, or
#: there is no maximum.
_SINGULAR_V = "V itself is singular"
_INVERTED = "R is inverted though it is singular"
_WITHOUT_PRECISION = (
    _SINGULAR_V,
    _INVERTED,
    "V = Z G Z' + R is nearly singular",
    "the likelihood has no maximum",
)


def name_singular_v(model: ReducedModel, covariance: CovarianceFit) -> list[str]:
    """Say that a combination of the fixed effects is taken as known, where R is singular."""
    residual, criterion = model.design.residual, covariance.criterion
    parts = residual_parts(criterion)
    theta = covariance.theta[:1]
    if residual is None or not parts or not (criterion.reml and len(model.kept)):
        return []
    if not smallest_eigenvalue(parts, theta)[0] < _KNOWN:
        return []
    matrices = [part.structure.matrix(theta[:, part.theta])[0] for part in parts]
    size = float(np.mean([np.trace(matrix) / len(matrix) for matrix in matrices]))
    phi = information_of(model, criterion, theta, (False,) * len(criterion.terms)).phi
    # Of a V that is singular to the last digit nothing is computed.
    if np.isfinite(phi).all() and not np.linalg.eigvalsh(phi)[0] < _KNOWN * size:
        return []
    return [
        f"{_SINGULAR_V} beside {residual.text}: some combination of a subject's rows has no "
        "variance, and REML takes a combination of the fixed effects as known by it"
    ]


def name_inverted(model: ReducedModel, covariance: CovarianceFit) -> list[str]:
    """Say that an inverse of a singular R stands behind the inference, which V would not need."""
    parts, theta = residual_parts(covariance.criterion), covariance.theta[:1]
    if not (model.order and parts) or is_through_v(model.core):
        return []
    if not smallest_eigenvalue(parts, theta)[0] < INVERTED:
        return []
    return [
        f"{_INVERTED}, as the groups are too large to evaluate V itself: degrees of freedom may be "
        "some per cent off, and covariance parameters have no standard errors"
    ]


def is_v_singular(notes: Iterable[str]) -> bool:
    """Whether one of the notes of a certificate says that V is singular."""
    return any(note.startswith(_SINGULAR_V) for note in notes)


def is_without_precision(notes: Iterable[str]) -> bool:
    """Whether the notes of a certificate leave the covariance parameters no standard errors.

    Examples
    --------
    >>> is_without_precision(["variance of x by g is 0"])
    False
    >>> is_without_precision(["the likelihood of residual='us(v | s)' has no maximum: it grows"])
    True
    """
    return any(
        note.startswith(_WITHOUT_PRECISION)
        or (note.startswith("the likelihood of ") and " has no maximum: " in note)
        for note in notes
    )
