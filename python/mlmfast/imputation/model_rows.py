"""Means and covariances of a subject's visits: V = Z G Z' + R of rows that data have or lack."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.data.finite import check_weights
from mlmfast.design.columns.expressions import evaluate_numeric
from mlmfast.design.model_frame import grouping_factor
from mlmfast.errors import DataError, ModelError
from mlmfast.imputation.parameters import Parameters
from mlmfast.prediction.given_observed.noise import scale_exponents

if TYPE_CHECKING:
    from mlmfast.data.frame import Frame
    from mlmfast.fitted.fitted import Fitted
    from mlmfast.imputation.subjects import Subjects


@dataclass(frozen=True, eq=False)
class ModelRows:
    """What a model takes from the rows of n subjects at J visits.

    Attributes
    ----------
    x, offset : shapes (n, J, rank), (n, J)
    z : by random-effects term, (n, J, q)
    same : by term, (n, J, J), whether two visits of a subject have one level of its factor
    root_weights : shape (n, J), or None without weights
    exponents : shape (n, J, k), columns of the residual scale; None without one
    arm : shape (n,), arm of the residual covariance
    """

    x: FloatArray
    offset: FloatArray
    z: tuple[FloatArray, ...]
    same: tuple[BoolArray, ...]
    root_weights: FloatArray | None
    exponents: FloatArray | None
    arm: IntArray

    def distribution(self, i: int, parameters: Parameters) -> tuple[FloatArray, FloatArray]:
        """Mean (m, J) and covariance (m, J, J) of a subject for m sets of parameters."""
        mean = parameters.beta @ self.x[i].T + self.offset[i]
        V = parameters.covariances[:, self.arm[i]]
        if self.exponents is not None:
            assert parameters.scale is not None, "the model has a scale"
            sd = np.exp(parameters.scale @ self.exponents[i].T)
            V = sd[:, :, None] * V * sd[:, None, :]
        if self.root_weights is not None:
            V = V / np.outer(self.root_weights[i], self.root_weights[i])
        for G, z, same in zip(parameters.effects, self.z, self.same, strict=True):
            V = V + same[i] * (z[i] @ G @ z[i].T)
        return mean, V

    def covaries_as(self, other: ModelRows, i: int) -> bool:
        """Whether a subject's covariance is the same by both, whatever the parameters."""
        pairs = [*zip(self.z, other.z, strict=True)]
        if self.exponents is not None and other.exponents is not None:
            pairs.append((self.exponents, other.exponents))
        equal = all(np.array_equal(own[i], others[i]) for own, others in pairs)
        return equal and self.arm[i] == other.arm[i]

    def in_arm(self, arm: int) -> ModelRows:
        """The same with the residual covariance of one arm."""
        return replace(self, arm=np.full_like(self.arm, arm))


def model_rows(fit: Fitted, frame: Frame, subjects: Subjects) -> ModelRows:
    """Read what the model takes from a frame with a row for each subject and visit.

    Raises
    ------
    ModelError, DataError
        For an offset given as an argument, a variable that is missing, or random effects that
        several subjects share.
    """
    shape = subjects.y.shape
    x, offset = _fixed_part(fit, frame, subjects)
    z, same = _random_part(fit, frame, subjects)
    scale = fit._record.residual_scale
    exponents = None
    if scale is not None:
        exponents = scale_exponents(scale.text, scale.levels, frame).reshape(*shape, -1)
    weights = _weights(fit, frame)
    root = None if weights is None else np.sqrt(weights).reshape(shape)
    return ModelRows(
        x.reshape(*shape, -1),
        offset.reshape(shape),
        tuple(own.reshape(*shape, -1) for own in z),
        same,
        root,
        exponents,
        subjects.covariance_arm,
    )


def _fixed_part(fit: Fitted, frame: Frame, subjects: Subjects) -> tuple[FloatArray, FloatArray]:
    """Columns of X that the fit kept, and the offset, by row."""
    record = fit._record
    assert record.fixed_spec is not None, "the caller looked"
    if record.offset_given:
        raise ModelError("impute takes no offset= argument; write offset(column) in the formula")
    columns = record.fixed_spec.build(frame).columns
    x = np.stack([_column(columns[j], frame.n_rows) for j in record.kept], axis=1)
    _check_known(x, "fixed", subjects)
    offset = np.zeros(len(x))
    for text in record.offsets:
        offset = offset + evaluate_numeric(text, frame, "the offset")
    return x, offset


def _random_part(
    fit: Fitted, frame: Frame, subjects: Subjects
) -> tuple[list[FloatArray], tuple[BoolArray, ...]]:
    """Columns of Z by term, and which visits of a subject share their effects."""
    record = fit._record
    shape = subjects.y.shape
    together = [_same_level(group.columns, frame, shape) for group in record.groups]
    z = []
    for term in record.terms:
        assert term.spec is not None, "the model has a formula"
        columns = term.spec.build(frame).columns
        z.append(np.stack([_column(own, frame.n_rows) for own in columns], axis=1))
        _check_known(z[-1], "random", subjects)
    return z, tuple(together[term.group] for term in record.terms)


def _same_level(columns: tuple[str, ...], frame: Frame, shape: tuple[int, ...]) -> BoolArray:
    """Which visits of a subject have one level of a factor, none of which two subjects share."""
    factor = grouping_factor(columns, frame)
    name = ":".join(columns)
    codes = factor.codes.reshape(shape)
    if (codes < 0).any():
        raise DataError(f"{name!r} is missing in some rows; random effects need their levels")
    pairs = np.unique(np.stack([codes, np.indices(shape)[0]], axis=-1).reshape(-1, 2), axis=0)
    level, counts = np.unique(pairs[:, 0], return_counts=True)
    if (counts > 1).any():
        label = factor.levels[int(level[counts > 1][0])]
        raise ModelError(
            f"level {label!r} of {name!r} has several subjects, so that what one of them lacks "
            "depends on the responses of the others; impute takes random effects of subjects alone"
        )
    return np.asarray(codes[:, :, None] == codes[:, None, :])


def _weights(fit: Fitted, frame: Frame) -> FloatArray | None:
    if not fit._record.weighted:
        return None
    source = fit._needs_source("an imputation")
    column = None if source.frame is None else source.frame.weights
    if column is None:
        raise ModelError(
            "impute needs the weights of rows without a response too; put them into a column of "
            "the data and name it, weights='w'"
        )
    return check_weights(frame.numeric(column), column)


def _column(values: FloatArray | None, n: int) -> FloatArray:
    return np.ones(n) if values is None else values


def _check_known(columns: FloatArray, part: str, subjects: Subjects) -> None:
    bad = np.flatnonzero(~np.isfinite(columns).all(axis=1))
    if bad.size:
        label = subjects.labels[int(bad[0]) // len(subjects.visits)]
        raise DataError(
            f"a variable of the {part} part is missing for subject {label!r}; covariates must be "
            "known at every visit"
        )
