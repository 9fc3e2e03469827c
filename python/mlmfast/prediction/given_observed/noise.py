"""Residual variance of rows to predict, under any residual covariance and scale."""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray
from mlmfast.data.factor import cross_factors
from mlmfast.data.frame import Frame
from mlmfast.design.residual.record import ResidualRecord, ScaleRecord
from mlmfast.design.residual.scale import parse_scale, scale_columns_of
from mlmfast.errors import DataError
from mlmfast.fitted.record import FitRecord
from mlmfast.formula.residual_formula import parse_residual, takes_coordinates


def noise_variance(record: FitRecord, frame: Frame) -> FloatArray:
    """Variance at weight 1 of a new residual of each row of a frame without missing values.

    Raises
    ------
    DataError
        Where the frame lacks a column, or has a visit, an arm or a level that the fit did not see.
    """
    if record.residual is None or not np.isnan(record.sigma2):
        variance = np.full(frame.n_rows, record.sigma2)
    else:
        variance = _by_visit(record.residual, frame)
    if record.residual_scale is not None:
        variance = variance * _squared_scale(record.residual_scale, frame)
    return variance


def _by_visit(residual: ResidualRecord, frame: Frame) -> FloatArray:
    """Variances of the visits, each as its label says."""
    formula = parse_residual(residual.text)
    what = f"residual={residual.text!r}"
    arms = np.zeros(frame.n_rows, dtype=np.int32)
    if formula.arm is not None:
        arms = _codes(frame, (formula.arm,), residual.arms, what)
    variances = np.diagonal(residual.covariances, axis1=1, axis2=2)
    if len(formula.calls) == 1 and takes_coordinates(residual.structure):
        # One variance for all points, seen or not.
        return np.asarray(variances[arms, 0])
    return np.asarray(variances[arms, _codes(frame, formula.coordinates, residual.visits, what)])


def _squared_scale(scale: ScaleRecord, frame: Frame) -> FloatArray:
    exponents = scale_exponents(scale.text, scale.levels, frame)
    return np.asarray(np.exp(2.0 * (exponents @ scale.logarithms)))


def scale_exponents(text: str, levels: tuple[tuple[str, ...], ...], frame: Frame) -> FloatArray:
    """Columns of a residual scale for new rows, in terms of the fit's levels, shape (n, m).

    Raises
    ------
    DataError
        Where a column lacks, or has a level that the fit did not see.
    """
    formula = parse_scale(text)
    parts = []
    for factor, labels in zip(formula.factors, levels, strict=True):
        codes = np.zeros(frame.n_rows, dtype=np.int32)
        if factor.by:
            codes = _codes(frame, factor.by, labels, f"residual_scale={text!r}")
        parts.append(scale_columns_of(factor, formula, frame, codes, len(labels)))
    return np.concatenate(parts, axis=1)


def _codes(frame: Frame, columns: tuple[str, ...], labels: tuple[str, ...], what: str) -> CodeArray:
    for name in columns:
        mask = frame.missing(name)
        if mask is not None:
            raise DataError(f"newdata: column {name!r} has missing values; {what} needs it here")
    factor = cross_factors([frame.factor(name) for name in columns])
    codes, unknown = factor.recode(labels)
    if unknown:
        raise DataError(
            f"newdata: {':'.join(columns)} = {unknown[0]!r} was not seen by the fit, so "
            f"{what} says nothing of its residual variance; interval='confidence' does not need it"
        )
    return codes
