"""Tests of linear functions in every fit of a batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.batch.arrays import status_of
from mlmfast.batch.batch_tests import BatchTests
from mlmfast.batch.fits import BatchFits
from mlmfast.batch.names import places
from mlmfast.batch.rows import RegularFits
from mlmfast.degrees_of_freedom import (
    Ddf,
    DegreesOfFreedom,
    TestBasis,
    ddf_text,
    known_name,
    method_of,
)
from mlmfast.degrees_of_freedom.base import ByCounts
from mlmfast.degrees_of_freedom.stacked_bases import coefficients
from mlmfast.errors import ModelError
from mlmfast.handed_out import changed
from mlmfast.inference.contrasts.estimability import aliasing_of_design, kept_rows
from mlmfast.inference.contrasts.linear_tests import (
    FTest,
    RowTests,
    independent_rows,
    joint_test,
    row_tests,
)
from mlmfast.inference.contrasts.rows import contrast_rows
from mlmfast.information.undetermined_effects import known_entries
from mlmfast.reduction.reduced_model import ReducedModel

_Batch = TypeVar("_Batch", bound=BatchFits)


def batch_df(batch: BatchFits, ddf: Ddf) -> FloatArray:
    """See `FitBatch.df`."""
    method = method_of(ddf)
    method.check(batch.method == "REML")
    out = np.full((len(batch), len(batch.names)), np.nan)
    columns = _Columns(batch.names)
    if isinstance(method, ByCounts) and method.of_all is not None:
        whole = np.isfinite(batch.cov_params).all(axis=(1, 2)) & (batch.undetermined == "")
        out[np.ix_(whole, np.array(batch.kept, dtype=np.intp))] = method.of_all
    for group in _groups(batch, method):
        usable = group.usable
        at = np.ix_(group.fits[usable], np.array(columns.kept(group.like), dtype=np.intp))
        out[at] = coefficients(group.bases, group.vcov)[usable]
    for tested in _bases(batch, method, (), ~np.isnan(out).all(axis=1)):
        rows = np.eye(len(tested.model.kept))
        found = row_tests(tested.basis, rows, tested.beta, 0.0)
        out[tested.fit, columns.kept(tested.model)] = found.df
    return out


def with_ddf(batch: _Batch, ddf: Ddf) -> _Batch:
    """The batch under a method of degrees of freedom, with the standard errors of its tests.

    A fit to which the method does not apply has no standard errors, and its status says why.
    """
    method = method_of(ddf)
    there = np.isfinite(batch.llf)
    status = np.where(there, status_of(batch.converged, batch.singular), batch.status)
    if not method.adjusts:
        return changed(batch, ddf=_kept(ddf), status=status)
    method.check(batch.method == "REML")
    bse = np.full(batch.params.shape, np.nan)
    columns = _Columns(batch.names)
    for group in _groups(batch, method):
        at = np.ix_(group.fits, np.array(columns.kept(group.like), dtype=np.intp))
        diagonal = np.einsum("aii->ai", group.tested_covariance)
        bse[at] = np.where(group.usable[:, None], np.sqrt(np.maximum(diagonal, 0.0)), np.nan)
    problems: dict[int, ModelError] = {}
    for tested in _bases(batch, method, (), ~np.isnan(bse).all(axis=1), problems):
        vcov = known_entries(tested.basis.moves, tested.basis.vcov)
        bse[tested.fit, columns.kept(tested.model)] = np.sqrt(np.diag(vcov))
    for fit, problem in problems.items():
        status[fit] = str(problem)
    return changed(batch, bse=bse, ddf=_kept(ddf), status=status)


def _kept(ddf: Any) -> str | float:
    """A method as a batch holds it: by name, by its text where it goes by term, or a number."""
    return ddf_text(ddf) if isinstance(ddf, Mapping) else known_name(ddf) or ddf


def batch_tests(batch: BatchFits, L: Any, rhs: Any, ddf: Ddf) -> BatchTests:
    """See `FitBatch.tests`."""
    method = method_of(ddf)
    method.check(batch.method == "REML")
    asked = contrast_rows(batch.names, L, rhs)
    own_rows = _RowsByModel(batch.names, asked.L)
    single = np.full((5, len(batch), len(asked.L)), np.nan)
    joint = np.full((4, len(batch)), np.nan)
    for fit, model, beta, basis in _bases(batch, method, _groups(batch, method)):
        matrix = own_rows.of(model)
        if matrix is None:
            continue
        tests = row_tests(basis, matrix, beta, asked.rhs)
        single[:, fit] = _numbers(tests)
        some, values = independent_rows(matrix, asked.rhs, basis.phi)
        together = joint_test(basis, some, some @ beta - values)
        joint[:, fit] = _joint(together)
    own_rows.check_any()
    return BatchTests(*single, *joint)


def _groups(batch: BatchFits, method: DegreesOfFreedom) -> Iterator[RegularFits]:
    expected = method.information == "expected"
    for group in batch._rows.regular(method.adjusts, expected) if method.stacks else ():
        if method.stacks_singular:
            yield group
        else:
            usable = group.bases.usable & ~group.singular
            yield replace(group, bases=group.bases._replace(usable=usable))


class _Tested(NamedTuple):
    """A fit, the reduction whose columns it has, its coefficients, and what its tests need."""

    fit: int
    model: ReducedModel
    beta: FloatArray
    basis: TestBasis


def _bases(
    batch: BatchFits,
    method: DegreesOfFreedom,
    groups: Iterable[RegularFits] = (),
    done: BoolArray | None = None,
    problems: dict[int, ModelError] | None = None,
) -> Iterator[_Tested]:
    """The fits that there are and are not ``done``, with what their tests need.

    Those in ``groups`` come from there; a fit to which the method does not apply is left out, and
    why is put into ``problems``.

    Raises
    ------
    ModelError
        Where the method applies to none.
    """
    left: BoolArray = np.asarray(np.isfinite(batch.cov_params).any(axis=(1, 2)))
    found = False
    if done is not None:
        left, found = left & ~done, bool(done.any())
    for group in groups:
        covariance = group.tested_covariance
        for k in np.flatnonzero(group.usable & left[group.fits]).tolist():
            own = (group.bases.gradient[k], group.bases.covariance[k])
            basis = TestBasis(method.name, covariance[k], group.vcov[k], *own)
            left[group.fits[k]], found = False, True
            yield _Tested(int(group.fits[k]), group.like, group.beta[k], basis)
    problems = {} if problems is None else problems
    for fit in np.flatnonzero(left).tolist():
        one = batch._rows[fit]
        if one is None or not np.isfinite(one.vcov).all():
            continue
        try:
            basis = method.tested(one)
        except ModelError as error:
            problems[fit] = error
            continue
        found = True
        yield _Tested(fit, one.model, one.beta, basis)
    if problems and not found:
        raise next(iter(problems.values()))


class _Columns:
    """Where the columns of a fit's X stand among those of the batch, found once a set of names."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._found: dict[tuple[str, ...], list[int]] = {}

    def of(self, own: tuple[str, ...]) -> list[int]:
        if own not in self._found:
            self._found[own] = places(own, self._names)
        return self._found[own]

    def kept(self, model: ReducedModel) -> list[int]:
        """Of the columns that a reduction keeps."""
        own = self.of(model.design.x_names)
        return [own[k] for k in model.kept.tolist()]


class _RowsByModel:
    """Rows of a contrast over the columns that each design of a batch keeps.

    None where the contrast is not estimable in a design.
    """

    def __init__(self, names: tuple[str, ...], L: FloatArray) -> None:
        self._columns, self._L = _Columns(names), L
        self._model: ReducedModel | None = None
        self._current: FloatArray | None = None
        self._found = False
        self._problem: ModelError | None = None

    def of(self, model: ReducedModel) -> FloatArray | None:
        """The rows, shape (m, rank)."""
        if model is not self._model:
            self._model, self._current = model, None
            try:
                self._current, self._found = self._kept(model), True
            except ModelError as error:
                self._problem = self._problem or error
        return self._current

    def check_any(self) -> None:
        """Refuse a contrast that no design of the batch can estimate."""
        if self._problem is not None and not self._found:
            raise self._problem

    def _kept(self, model: ReducedModel) -> FloatArray:
        own, kept = model.design.x_names, tuple(model.kept.tolist())
        columns = self._columns.of(own)
        lacking = np.setdiff1d(np.arange(self._L.shape[1]), columns)
        if self._L[:, lacking].any():
            raise ModelError("the contrast is about coefficients that no fit of the batch has")
        return kept_rows(self._L[:, columns], own, aliasing_of_design(model.design, kept))


def _numbers(tests: RowTests) -> FloatArray:
    return np.stack([tests.estimate, tests.se, tests.df, tests.statistic, tests.pvalue])


def _joint(test: FTest) -> tuple[float, float, float, float]:
    return test.statistic, float(test.df_num), test.df_den, test.pvalue
