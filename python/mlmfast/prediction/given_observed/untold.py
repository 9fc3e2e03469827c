"""Predictions given other responses that hang on covariances which no data tell.

Whatever value such a covariance has, the likelihood is the same: a prediction that moves with it is
not determined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.design.residual.record import ResidualRecord
from mlmfast.fitted.record import FitRecord, TermRecord

#: How far covariances are moved, over the standard deviations beside them.
_MOVE = 1e-4


def has_untold(record: FitRecord) -> bool:
    """Whether some covariances of the fit are those that no data tell."""
    residual = record.residual
    own = residual is not None and bool(residual.unseen or residual.unseen_parameters)
    return own or any(term.unseen for term in record.terms)


def moved(record: FitRecord) -> FitRecord:
    """The record with other values of the covariances that no data tell."""
    residual = record.residual
    return replace(
        record,
        terms=tuple(_moved_term(term) for term in record.terms),
        residual=None if residual is None else _moved_residual(residual),
    )


def _moved_term(term: TermRecord) -> TermRecord:
    if not term.unseen:
        return term
    return replace(term, covariance=_moved_matrix(term.covariance, term.unseen))


def _moved_residual(residual: ResidualRecord) -> ResidualRecord:
    matrices = [
        _moved_matrix(matrix, [(a, b) for own, a, b in residual.unseen if own == arm])
        for arm, matrix in enumerate(residual.covariances)
    ]
    parameters, at = residual.parameters.copy(), list(residual.unseen_parameters)
    # Towards 0, which stays within the range of a correlation.
    parameters[at] = np.where(parameters[at] == 0.0, _MOVE, (1.0 - _MOVE) * parameters[at])
    return replace(residual, covariances=np.array(matrices), parameters=parameters)


def _moved_matrix(matrix: FloatArray, entries: Sequence[tuple[int, int]]) -> FloatArray:
    """A covariance with some entries moved towards 0, or away from it where they are."""
    out = matrix.copy()
    for a, b in entries:
        size = _MOVE * np.sqrt(matrix[a, a] * matrix[b, b])
        out[a, b] = out[b, a] = matrix[a, b] - (size if matrix[a, b] > 0.0 else -size)
    return out
