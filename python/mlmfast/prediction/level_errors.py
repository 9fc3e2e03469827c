"""Errors of prediction at the levels of a factor, as a fit hands them to one without rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray, IntArray
from mlmfast.degrees_of_freedom import method_of
from mlmfast.fitted.level_errors import LevelErrors
from mlmfast.prediction.error import ErrorSlopes, largest_told
from mlmfast.prediction.rows import PredictionRows
from mlmfast.prediction.spread import LARGEST_CLUSTER, error_slopes_of, error_variance_of
from mlmfast.prediction.targets import RowTargets

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

#: Numbers that are kept at most, and targets that are computed for them.
_MOST_NUMBERS, _MOST_TARGETS = 20_000, 40_000


def level_errors(fit: Fitted) -> LevelErrors | None:
    """The forms of a fit with its rows; None where there are several factors, or too many levels.

    Forms are found from their values along the axes and between two of them, with axes as long as
    makes the error variance 1.
    """
    record, source = fit._record, fit._source
    if source is None or source.design.is_in_parts or not _is_plain(fit):
        return None
    method = method_of(fit._basis().method)
    q, n_levels = sum(len(term.names) for term in record.terms), record.groups[0].n_levels
    n = q + record.rank
    n_parameters = record.n_theta + 1 if method.information else 0
    if n_levels * (2 + n_parameters) * q * n > _MOST_NUMBERS or n_levels * n**2 > _MOST_TARGETS:
        return None
    axes = np.tile(np.eye(n), (n_levels, 1))
    levels = np.repeat(np.arange(n_levels, dtype=np.int32), n)
    plain = error_variance_of(fit, _targets(fit, axes, levels), True).reshape(n_levels, n)
    length = np.where(plain > 0.0, 1.0 / np.sqrt(np.maximum(plain, 1e-300)), 1.0)
    a, b = np.triu_indices(n)
    pairs = np.zeros((n_levels, len(a), n))
    for place in (a, b):
        pairs[:, np.arange(len(a)), place] = length[:, place]
    codes = np.repeat(np.arange(n_levels, dtype=np.int32), len(a))
    targets = _targets(fit, pairs.reshape(-1, n), codes)
    variance = error_variance_of(fit, targets, True)
    slopes: ErrorSlopes | None = None
    weights = np.empty((0, 0))
    if method.information is not None:
        assert fit._rows is not None, "it has a source"
        found = None
        if largest_told(targets, record, source.design) <= LARGEST_CLUSTER:
            found = error_slopes_of(fit._rows, fit, targets, fit._basis().method, True)
        if found is None:
            return None
        slopes, _, weights = found
    zero = np.zeros((len(variance), 1))
    parts = [variance[:, None], zero]
    if slopes is not None:
        inflation = slopes.inflation[:, None] if method.adjusts else zero
        parts = [variance[:, None], inflation, slopes.gradient]
    values = np.concatenate(parts, axis=1).reshape(n_levels, len(a), -1)
    forms = _forms(values, length, a, b)
    of_beta = forms[0, :, q:, q:]
    return LevelErrors(fit._basis().method, weights, forms[:, :, :q, :], of_beta)


def _is_plain(fit: Fitted) -> bool:
    """Whether the random effects are those of independent levels of one factor, all determined."""
    record = fit._record
    if len(record.groups) != 1 or not record.terms or record.groups[0].has_all_rows:
        return False
    plain = record.absorbed is None and record.undetermined is None and not record.groups[0].related
    is_exact = record.monte_carlo is None and not record.certificate.negative
    return plain and is_exact and not any(term.unseen for term in record.terms)


def _targets(fit: Fitted, weights: FloatArray, codes: CodeArray) -> RowTargets:
    """Rows with given columns of Z, terms in order, and of X, at given levels."""
    record = fit._record
    z, at = [], 0
    for term in record.terms:
        z.append(tuple(weights[:, at + k].copy() for k in range(len(term.names))))
        at += len(term.names)
    columns: list[FloatArray] = [np.zeros(len(weights))] * len(record.x_names)
    for k, j in enumerate(record.kept):
        columns[j] = weights[:, at + k].copy()
    rows = PredictionRows(len(weights), columns, tuple(z), (codes,), None)
    return RowTargets(rows, record)


def _forms(values: FloatArray, length: FloatArray, a: IntArray, b: IntArray) -> FloatArray:
    """Matrices (n_levels, k, n, n) from values along l_a e_a, and l_a e_a + l_b e_b for a < b."""
    n_levels, _, k = values.shape
    n = length.shape[1]
    out = np.zeros((n_levels, k, n, n))
    same = a == b
    axes = values[:, same]
    mixed = (values[:, ~same] - axes[:, a[~same]] - axes[:, b[~same]]) / 2.0
    everything = np.arange(n)
    out[:, :, everything, everything] = np.swapaxes(axes, 1, 2)
    out[:, :, a[~same], b[~same]] = out[:, :, b[~same], a[~same]] = np.swapaxes(mixed, 1, 2)
    return np.asarray(out / (length[:, None, :, None] * length[:, None, None, :]))
