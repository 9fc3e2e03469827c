"""Degrees of freedom that the user gives: a number, or numbers by term."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import ClassVar

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.degrees_of_freedom.base import METHODS, ByCounts, DegreesOfFreedom, TestBasis
from mlmfast.degrees_of_freedom.fitted_rows import FittedRows
from mlmfast.errors import ModelError
from mlmfast.information.information import Information


@dataclass(frozen=True)
class GivenNumber(ByCounts):
    """The same number for every test (SAS's DDF= option)."""

    value: float

    label: ClassVar[str] = "given"

    def __post_init__(self) -> None:
        if not self.value > 0:
            raise ModelError(f"ddf is {self.value:g}; degrees of freedom must be positive")

    @property
    def key(self) -> str:
        return repr(self.value)

    @property
    def of_all(self) -> float | None:
        return self.value

    def of_counts(self, n_obs: int, rank: int) -> float:
        return self.value


@dataclass(frozen=True)
class GivenByTerm(DegreesOfFreedom):
    """Numbers, or methods that give them by coefficient, for some terms; a method for the others.

    SAS's DDF= with a list. The F test of a term has its number; a contrast the smallest among the
    terms that it involves, that of the other method for the row counting where one of them has
    none. Standard errors and F statistics are those of the other method.

    Attributes
    ----------
    given : pairs of a term's label and a number, or the name of a method
    other : name of the method for the other terms
    """

    given: tuple[tuple[str, float | str], ...]
    other: str

    eager: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name, value in self.given:
            if isinstance(value, float) and not value > 0:
                raise ModelError(f"ddf[{name!r}] is {value:g}; degrees of freedom must be positive")
        rest = METHODS[self.other]
        # What the rest of the package asks a class of methods for is the other method's.
        for attribute in ("information", "adjusts", "no_joint", "needs_reml", "why_reml"):
            object.__setattr__(self, attribute, getattr(rest, attribute))
        object.__setattr__(self, "label", f"given by term, else {rest.label}")

    @property
    def key(self) -> str:
        """Name under which a fit holds its tests, and which reads as this again."""
        return json.dumps({"terms": dict(self.given), "other": self.other})

    @property
    def _rest(self) -> DegreesOfFreedom:
        return METHODS[self.other]()

    def check(self, reml: bool) -> None:
        self._rest.check(reml)

    def about(self, fitted: FittedRows) -> Information:
        return self._rest.about(fitted)

    def basis(self, fitted: FittedRows) -> TestBasis:
        base = self._rest.basis(fitted)
        # 0 where nothing is given: a test asks the other method then.
        known = base.by_coefficient
        degrees = np.zeros(len(fitted.beta)) if known is None else known.copy()
        labels = _labels(fitted)
        for name, value in self.given:
            asked = (_variables(name), _variables(name.replace("*", ":")))
            own = np.array([label in asked for label in labels])
            if not own.any():
                raise _unknown_term(name, labels)
            degrees[own] = value if isinstance(value, float) else _by(value, fitted)[own]
        return replace(base, method=self.key, by_coefficient=degrees)

    def of_rows(self, basis: TestBasis, rows: FloatArray) -> FloatArray:
        by = basis.by_coefficient
        assert by is not None, "made here"
        known = replace(basis, by_coefficient=np.where(by > 0, by, np.inf))
        least = super().of_rows(known, rows)
        none = super().of_rows(replace(basis, by_coefficient=np.where(by > 0, np.inf, 1.0)), rows)
        if not np.isfinite(none).any():
            return least
        rest = self._rest.of_rows(basis, rows)
        return np.asarray(np.where(np.isfinite(none), np.minimum(least, rest), least))

    def joint(
        self, basis: TestBasis, rows: FloatArray, difference: FloatArray
    ) -> tuple[float, float]:
        by = basis.by_coefficient
        assert by is not None, "made here"
        statistic, df = self._of_rest(basis, rows, difference)
        share = np.abs(rows) * np.sqrt(np.diag(basis.phi))
        involved = (share > 1e-9 * share.max(axis=1, keepdims=True)).any(axis=0)
        least = float(np.where(by[involved] > 0, by[involved], np.inf).min())
        return statistic, least if (by[involved] > 0).all() else min(df, least)

    def joint_of_term(
        self, basis: TestBasis, rows: FloatArray, difference: FloatArray, term: Sequence[int]
    ) -> tuple[float, float]:
        by = basis.by_coefficient
        assert by is not None, "made here"
        statistic, df = self._of_rest(basis, rows, difference)
        own = float(by[list(term)].min())
        return statistic, own if own > 0 else df

    def _of_rest(
        self, basis: TestBasis, rows: FloatArray, difference: FloatArray
    ) -> tuple[float, float]:
        by = basis.by_coefficient
        assert by is not None, "made here"
        filled = replace(basis, by_coefficient=np.where(by > 0, by, np.inf))
        return self._rest.joint(filled, rows, difference)


def _labels(fitted: FittedRows) -> list[frozenset[str]]:
    """For each coefficient kept the variables of its term; its own name without a formula."""
    frame, kept = fitted.frame, fitted.model.kept
    if frame is None:
        return [_variables(fitted.design.x_names[j]) for j in kept]
    return [_variables(frame.terms[frame.term_of_column[j]]) for j in kept]


def _variables(label: str) -> frozenset[str]:
    """What a term's label joins, without blanks and backticks."""
    return frozenset(label.replace(" ", "").replace("`", "").split(":"))


def _unknown_term(name: str, labels: Sequence[frozenset[str]]) -> ModelError:
    known = [":".join(sorted(label)) for label in dict.fromkeys(labels)]
    near = get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ModelError(
        f"ddf: {name!r} is no term of the fixed part with a coefficient of its own{hint} "
        f"({', '.join(known)})"
    )


def _by(name: str, fitted: FittedRows) -> FloatArray:
    """Degrees of freedom of each coefficient by a method that gives these."""
    degrees = METHODS[name]().basis(fitted).by_coefficient
    if degrees is None:
        givers = ("containment", "between-within", "between-within-sas", "residual", "asymptotic")
        raise ModelError(
            f"ddf: {name!r} of a single term is not offered, since it is a property of each "
            f"contrast; give a number or {', '.join(givers)}, and {name!r} for all others as "
            "ddf={..., None: ...}"
        )
    return degrees


def by_term(given: Mapping[object, float | str]) -> GivenByTerm:
    """The method that a dict of ``ddf=`` is; names are those of `METHODS` already.

    Raises
    ------
    ModelError
        Where a key is no term's label.
    """
    other = given.get(None, "satterthwaite")
    if not isinstance(other, str):
        raise ModelError(
            f"ddf[None] is {other!r}; name a method for the terms that have no number, or give "
            "every term one"
        )
    pairs = []
    for name, value in given.items():
        if name is None:
            continue
        if not isinstance(name, str) or not name.strip():
            raise ModelError(f"ddf has the key {name!r}; terms are named as anova() shows them")
        pairs.append((name, value if isinstance(value, str) else float(value)))
    if not pairs:
        raise ModelError("ddf names no term; write ddf={'arm': 12, None: 'satterthwaite'}")
    return GivenByTerm(tuple(pairs), other)
