"""Means and covariances of a subject's visits: V = Z G Z' + R of rows that data have or lack."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.covariance.log_scale import log_scales
from mlmfast.data.finite import check_weights
from mlmfast.design.columns.expressions import evaluate_numeric
from mlmfast.design.model_frame import grouping_factor
from mlmfast.design.residual.scale import kinds_of, parse_scale
from mlmfast.errors import DataError, ModelError
from mlmfast.imputation.parameters import Parameters
from mlmfast.prediction.given_observed.noise import scale_exponents

if TYPE_CHECKING:
    from mlmfast.data.frame import Frame
    from mlmfast.fitted.fitted import Fitted
    from mlmfast.imputation.subjects import Subjects


@dataclass(frozen=True, eq=False)
class ScaleRows:
    """What the residual scale takes from the rows of n subjects at J visits.

    Attributes
    ----------
    text : as it was written
    kinds : of its k parameters
    columns : shape (n, J, k)
    """

    text: str
    kinds: tuple[str, ...]
    columns: FloatArray

    def standard_deviations(self, i: int, parameters: FloatArray) -> FloatArray:
        """Of a subject's visits, (m, J), for m sets of parameters."""
        own = self.columns[i]
        found = np.exp(np.stack([log_scales(self.kinds, own, natural) for natural in parameters]))
        if not np.isfinite(found).all():
            raise DataError(
                f"residual_scale={self.text!r} gives a visit an infinite standard deviation: its "
                "power is negative, and its covariate 0 there"
            )
        return np.asarray(found)


@dataclass(frozen=True, eq=False)
class ModelRows:
    """What a model takes from the rows of n subjects at J visits.

    Attributes
    ----------
    x, offset : shapes (n, J, rank), (n, J)
    z : by random-effects term, (n, J, q)
    codes : by term, (n, J), the level of its factor
    root_weights : shape (n, J), or None without weights
    scale : the residual scale; None without one
    arm : shape (n,), arm of the residual covariance
    """

    x: FloatArray
    offset: FloatArray
    z: tuple[FloatArray, ...]
    codes: tuple[IntArray, ...]
    root_weights: FloatArray | None
    scale: ScaleRows | None
    arm: IntArray

    def distribution(self, i: int, parameters: Parameters) -> tuple[FloatArray, FloatArray]:
        """Mean (m, J) and covariance (m, J, J) of a subject for m sets of parameters."""
        V = self._residual(i, parameters)
        for G, z, codes in zip(parameters.effects, self.z, self.codes, strict=True):
            V = V + (codes[i][:, None] == codes[i]) * (z[i] @ G @ z[i].T)
        return parameters.beta @ self.x[i].T + self.offset[i], V

    def joint_covariance(self, members: IntArray, parameters: Parameters) -> FloatArray:
        """Covariance (S J, S J) of all visits of S subjects, for one set of parameters."""
        size = self.x.shape[1]
        V = np.zeros((len(members) * size,) * 2)
        for k, i in enumerate(members.tolist()):
            own = slice(k * size, (k + 1) * size)
            V[own, own] = self._residual(i, parameters)[0]
        for G, every, levels in zip(parameters.effects, self.z, self.codes, strict=True):
            z, codes = every[members].reshape(len(V), -1), levels[members].ravel()
            V += (codes[:, None] == codes) * (z @ G[0] @ z.T)
        return V

    def blocks(self) -> list[IntArray]:
        """Subjects that share levels of random effects, together; the others by themselves."""
        n, size = self.offset.shape
        parent = np.arange(n)
        moved = np.full(n, -1)
        # Each subject takes the lowest of those that it shares a level with, until none moves.
        while not np.array_equal(moved, parent):
            moved = parent
            for codes in self.codes:
                lowest = np.full(int(codes.max()) + 1, n)
                np.minimum.at(lowest, codes.ravel(), np.repeat(parent, size))
                parent = np.minimum(parent, lowest[codes].min(axis=1))
        return [np.flatnonzero(parent == k) for k in np.unique(parent)]

    def _residual(self, i: int, parameters: Parameters) -> FloatArray:
        """R of a subject, (m, J, J)."""
        V = parameters.covariances[:, self.arm[i]]
        if self.scale is not None:
            assert parameters.scale is not None, "the model has a scale"
            sd = self.scale.standard_deviations(i, parameters.scale)
            V = sd[:, :, None] * V * sd[:, None, :]
        if self.root_weights is not None:
            V = V / np.outer(self.root_weights[i], self.root_weights[i])
        return V

    def covaries_as(self, other: ModelRows, i: int) -> bool:
        """Whether a subject's covariance is the same by both, whatever the parameters."""
        pairs = [*zip(self.z, other.z, strict=True)]
        if self.scale is not None and other.scale is not None:
            pairs.append((self.scale.columns, other.scale.columns))
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
        For an offset given as an argument, or a variable that is missing.
    """
    shape = subjects.y.shape
    x, offset = _fixed_part(fit, frame, subjects)
    z, codes = _random_part(fit, frame, subjects)
    weights = _weights(fit, frame)
    root = None if weights is None else np.sqrt(weights).reshape(shape)
    return ModelRows(
        x.reshape(*shape, -1),
        offset.reshape(shape),
        tuple(own.reshape(*shape, -1) for own in z),
        codes,
        root,
        _scale_rows(fit, frame, shape),
        subjects.covariance_arm,
    )


def _scale_rows(fit: Fitted, frame: Frame, shape: tuple[int, ...]) -> ScaleRows | None:
    scale = fit._record.residual_scale
    if scale is None:
        return None
    columns = scale_exponents(scale.text, scale.levels, frame).reshape(*shape, -1)
    return ScaleRows(scale.text, kinds_of(parse_scale(scale.text), scale.levels), columns)


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
) -> tuple[list[FloatArray], tuple[IntArray, ...]]:
    """Columns of Z by term, and the levels of its factor by subject and visit."""
    record = fit._record
    levels = [_levels(group.columns, frame, subjects.y.shape) for group in record.groups]
    z = []
    for term in record.terms:
        assert term.spec is not None, "the model has a formula"
        columns = term.spec.build(frame).columns
        z.append(np.stack([_column(own, frame.n_rows) for own in columns], axis=1))
        _check_known(z[-1], "random", subjects)
    return z, tuple(levels[term.group] for term in record.terms)


def _levels(columns: tuple[str, ...], frame: Frame, shape: tuple[int, ...]) -> IntArray:
    codes = grouping_factor(columns, frame).codes.reshape(shape)
    if (codes < 0).any():
        name = ":".join(columns)
        raise DataError(f"{name!r} is missing in some rows; random effects need their levels")
    return np.asarray(codes, dtype=np.intp)


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
