"""What the fits of a batch were made from, looked up or made again when something asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.criterion.criterion import Criterion, criterion_of
from mlmfast.degrees_of_freedom import FittedRows
from mlmfast.degrees_of_freedom.satterthwaite import core_maps
from mlmfast.degrees_of_freedom.stacked_bases import (
    StackedBases,
    are_definite,
    is_regular,
    stacked_bases,
)
from mlmfast.design.model_frame import ModelFrame
from mlmfast.errors import ModelError
from mlmfast.prepared.model import PreparedModel
from mlmfast.reduction.engines.options import Engine
from mlmfast.reduction.reduce import reduce_design
from mlmfast.reduction.reduced_model import ReducedModel
from mlmfast.running.cached import cached_property

#: Numbers in the derivatives of the covariances of fits that are taken at a time, and kept.
_CHUNK_NUMBERS, _KEPT_NUMBERS = 5_000_000, 500_000


@dataclass(frozen=True)
class RegularFits:
    """Fits of one structure with what Satterthwaite's degrees of freedom need.

    Attributes
    ----------
    fits : shape (a,), positions in the batch.
    like
        The reduction of one of them: the same columns are kept in all.
    beta, vcov : shapes (a, rank), (a, rank, rank)
    bases
        For each fit.
    singular : shape (a,)
    """

    fits: IntArray
    like: ReducedModel
    beta: FloatArray
    vcov: FloatArray
    bases: StackedBases
    singular: BoolArray

    @cached_property
    def tested_covariance(self) -> FloatArray:
        """The covariances that tests go by, (a, rank, rank)."""
        extra = self.bases.extra
        return self.vcov if extra is None else self.vcov + extra

    @cached_property
    def usable(self) -> BoolArray:
        """Fits whose tests are those of the group, (a,): the others are looked at one by one."""
        usable = self.bases.usable
        if self.bases.extra is None or not usable.any():
            return usable
        out = usable.copy()
        out[usable] = are_definite(self.tested_covariance[usable])
        return out

    def some(self, keep: BoolArray, fits: IntArray) -> RegularFits:
        """Some of the fits, at other positions."""
        gradient, covariance, usable, extra = self.bases
        bases = StackedBases(
            gradient[keep], covariance[keep], usable[keep], None if extra is None else extra[keep]
        )
        beta, vcov, singular = self.beta[keep], self.vcov[keep], self.singular[keep]
        return RegularFits(fits[keep], self.like, beta, vcov, bases, singular)


class BatchRows(Protocol):
    """The fits of a batch with their rows, one at a time."""

    def __len__(self) -> int:
        """Number of fits."""

    def __getitem__(self, fit: int, /) -> FittedRows | None:
        """A fit with its rows; None where there is no fit."""

    def regular(self, adjusts: bool, expected: bool = False) -> Iterator[RegularFits]:
        """Fits whose tests are had together, in groups.

        Parameters
        ----------
        adjusts
            Whether these are Kenward and Roger's, not Satterthwaite's.
        expected
            Whether they go by the expected information of the covariance parameters.
        """

    def model(self, fit: int, /) -> PreparedModel:
        """The model of one fit, to be fitted alone.

        Raises
        ------
        MlmError
            Where its data make no model.
        """


def _any(singular: BoolArray) -> BoolArray:
    """Fits some of whose covariances are singular."""
    return np.asarray(singular.any(axis=1))


@dataclass(frozen=True)
class SharedRows:
    """Fits of many responses that share one reduction.

    Attributes
    ----------
    reduced, criterion, frame
        As in `FittedRows`.
    theta : shape (n_fits, n_theta)
    singular : shape (n_fits, n_terms)
    beta, vcov : shapes (n_fits, rank), (n_fits, rank, rank)
    responses : shape (n_obs, n_fits) or None
        As given, the offset not subtracted; None where there is no offset.
    """

    reduced: ReducedModel
    criterion: Criterion
    theta: FloatArray
    singular: BoolArray
    beta: FloatArray
    vcov: FloatArray
    frame: ModelFrame | None
    responses: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.beta)

    def __getitem__(self, fit: int) -> FittedRows:
        reduced, criterion, place = self._reported(fit)
        return FittedRows(
            reduced,
            criterion,
            self.theta[fit : fit + 1],
            tuple(bool(flag) for flag in self.singular[fit]),
            self.beta[fit],
            self.vcov[fit],
            self.frame,
            place,
        )

    def _reported(self, fit: int) -> tuple[ReducedModel, Criterion, int]:
        """The reduction and criterion that a fit is reported from, and its place there."""
        through = self.criterion.through_v
        if through is None or fit not in through.places or through.criterion.model is None:
            return self.reduced, self.criterion, fit
        return through.criterion.model, through.criterion, through.places[fit]

    def regular(self, adjusts: bool, expected: bool = False) -> Iterator[RegularFits]:
        """All fits, where the model is regular."""
        if self.criterion.flat is not None or not is_regular(self.reduced):
            return
        if (adjusts, expected) in self._had_before:
            yield self._had_before[adjusts, expected]
            return
        core, rank = self.reduced.nested, len(self.reduced.kept)
        assert core is not None, "that of a regular model"
        each = max(1, rank * rank * (1 + len(self.criterion.entries)))
        chunk = max(1, _CHUNK_NUMBERS // each)
        for first in range(0, len(self), chunk):
            some = slice(first, first + chunk)
            fits = np.arange(len(self))[some]
            maps = core_maps(self.reduced, fits)
            n_obs = self.reduced.design.n_obs
            parts = (core, self.criterion, self.theta[some], fits, maps, n_obs)
            bases = stacked_bases(*parts, adjusts, self.singular[some], expected)
            own = (self.beta[some], self.vcov[some], bases, _any(self.singular[some]))
            found = RegularFits(fits, self.reduced, *own)
            if len(self) * each <= _KEPT_NUMBERS:
                self._had_before[adjusts, expected] = found
            yield found

    @cached_property
    def _had_before(self) -> dict[tuple[bool, bool], RegularFits]:
        """All fits where they are few: adjusted errors and degrees of freedom both go by them."""
        return {}

    def model(self, fit: int) -> PreparedModel:
        """The model of one response."""
        given = self.responses
        y = self.reduced.response(fit) if given is None else given[:, fit]
        design = replace(self.reduced.design, y=np.ascontiguousarray(y))
        frame = None if self.frame is None else replace(self.frame, design=design)
        return PreparedModel(design, frame)


class DataSets(Protocol):
    """Many data sets, of each of which a model is made."""

    def model(self, position: int, /) -> PreparedModel:
        """The model of one data set; `MlmError` where it makes none."""


@dataclass(frozen=True)
class OwnRows:
    """One fit on data of its own.

    Attributes
    ----------
    data, position
        Where the data are.
    engine, method
        What it was fitted by.
    theta, singular, beta, vcov
        The estimates, as in `FittedRows`.
    kept
        The fit with its rows, where these are few enough to be held.
    """

    data: DataSets
    position: int
    engine: Engine
    method: str
    theta: FloatArray
    singular: tuple[bool, ...]
    beta: FloatArray
    vcov: FloatArray
    kept: FittedRows | None = None

    def __len__(self) -> int:
        return 1

    def __getitem__(self, fit: int) -> FittedRows:
        if self.kept is not None:
            return self.kept
        model = self.data.model(self.position)
        reduced = reduce_design(model.design, engine=self.engine)
        criterion = criterion_of(reduced, self.method)
        estimates = (self.theta, self.singular, self.beta, self.vcov)
        return FittedRows(reduced, criterion, *estimates, model._frame)

    def regular(self, adjusts: bool, expected: bool = False) -> Iterator[RegularFits]:
        """None: it is one fit."""
        yield from ()

    def model(self, fit: int) -> PreparedModel:
        """The model of the data set."""
        return self.data.model(self.position)


@dataclass(frozen=True)
class StackedRows:
    """Fits on data sets of one shape.

    Attributes
    ----------
    positions : shape (n_fits,), of the data sets.
    like
        The reduction of one of them.
    theta, singular, beta, vcov : as in `SharedRows`.
    bases
        For tests.
    """

    data: DataSets
    positions: IntArray
    like: ReducedModel
    bases: StackedBases
    method: str
    theta: FloatArray
    singular: BoolArray
    beta: FloatArray
    vcov: FloatArray

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, fit: int) -> FittedRows:
        return OwnRows(
            self.data,
            int(self.positions[fit]),
            None,
            self.method,
            self.theta[fit : fit + 1],
            tuple(bool(flag) for flag in self.singular[fit]),
            self.beta[fit],
            self.vcov[fit],
        )[0]

    def regular(self, adjusts: bool, expected: bool = False) -> Iterator[RegularFits]:
        """All of them; for Kenward and Roger's tests where the batch was fitted for these."""
        if expected or (adjusts and self.bases.extra is None):
            return
        own = (self.beta, self.vcov, self.bases, _any(self.singular))
        yield RegularFits(np.arange(len(self)), self.like, *own)

    def model(self, fit: int) -> PreparedModel:
        """The model of one data set."""
        return self.data.model(int(self.positions[fit]))


@dataclass(frozen=True)
class NoRows:
    """Fits that there are not; ``model`` says why, in the words of the data set where it has any.

    Examples
    --------
    >>> len(NoRows(3)), NoRows(3)[0] is None
    (3, True)
    """

    n: int
    problem: str = ""

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, fit: int) -> None:
        return None

    def regular(self, adjusts: bool, expected: bool = False) -> Iterator[RegularFits]:
        """None."""
        yield from ()

    def model(self, fit: int) -> PreparedModel:
        """There is none."""
        raise ModelError(f"there is no fit here: {self.problem}")


@dataclass(frozen=True)
class JoinedRows:
    """Fits of several parts in an order of their own.

    Attributes
    ----------
    parts
        What is joined.
    part, within : shape (n_fits,), where each fit stands.
    """

    parts: tuple[BatchRows, ...]
    part: IntArray
    within: IntArray

    @classmethod
    def of(cls, parts: Sequence[BatchRows], order: IntArray) -> JoinedRows:
        """Fit k is the ``order[k]``-th of all of the parts'."""
        sizes = np.array([len(part) for part in parts], dtype=np.intp)
        part = np.repeat(np.arange(len(parts)), sizes)
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return cls(tuple(parts), part[order], within[order])

    def __len__(self) -> int:
        return len(self.part)

    def __getitem__(self, fit: int) -> FittedRows | None:
        return self.parts[int(self.part[fit])][int(self.within[fit])]

    def regular(self, adjusts: bool, expected: bool = False) -> Iterator[RegularFits]:
        """Those of the parts."""
        for k, part in enumerate(self.parts):
            for group in part.regular(adjusts, expected):
                own = np.flatnonzero(self.part == k)
                # A part may have fits that are not among the joined ones.
                place = np.full(len(part), -1, dtype=np.intp)
                place[self.within[own]] = own
                at = place[group.fits]
                yield replace(group, fits=at) if (at >= 0).all() else group.some(at >= 0, at)

    def model(self, fit: int) -> PreparedModel:
        """The model of one fit."""
        return self.parts[int(self.part[fit])].model(int(self.within[fit]))
