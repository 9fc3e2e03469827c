"""Containment degrees of freedom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray
from mlmfast.degrees_of_freedom.base import DegreesOfFreedom, TestBasis
from mlmfast.degrees_of_freedom.fitted_rows import FittedRows
from mlmfast.design.columns.model_matrix import INTERCEPT, ModelMatrixSpec
from mlmfast.design.design import Design, check_rows_are_here
from mlmfast.design.model_frame import ModelFrame
from mlmfast.design.rows import clusters_by_size, columns_at
from mlmfast.errors import ModelError

#: Numbers in the largest dense [X Z] whose rank is taken, where there are several factors.
_LARGEST = 30_000_000
#: A column counts towards the rank where this share of it is outside the others' span.
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class _RandomEffect:
    """A random effect as PROC MIXED counts them: one term of Z by one grouping factor."""

    factor: int
    columns: tuple[FloatArray | None, ...]
    numeric: frozenset[str]
    categorical: frozenset[str]


class Containment(DegreesOfFreedom):
    """The default of PROC MIXED with RANDOM statements (DDFM=CONTAIN).

    A random effect contains a fixed one if both have the same numeric variables and the random one
    all categorical variables of the fixed one (the columns of its grouping factor among them):
    ``(x | g)`` are the effects g and x*g. A coefficient has the smallest rank that the random
    effects that contain its term add to [X Z], taken outermost grouping factor first; where none
    contains it, n - rank[X Z]. The intercept is contained in every effect without numeric
    variables. A contrast has the smallest number among its coefficients.

    References: SAS/STAT User's Guide, MODEL statement of PROC MIXED, DDFM=CONTAIN.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> data = mlm.load_sleepstudy()
    >>> mlm.lmm("Reaction ~ Days + (Days | Subject)", data, ddf="containment").df.to_dict()
    {'(Intercept)': 17.0, 'Days': 17.0}
    """

    name: ClassVar[str] = "containment"
    label: ClassVar[str] = "containment"
    eager: ClassVar[bool] = True

    def basis(self, fitted: FittedRows) -> TestBasis:
        design, by_term = fitted.design, self.by_term(fitted)
        assert fitted.frame is not None, "looked up by term"
        terms = fitted.frame.term_of_column
        degrees = by_term[[terms[j] for j in fitted.model.kept]]
        check_positive(degrees, [design.x_names[j] for j in fitted.model.kept])
        return TestBasis(self.name, fitted.vcov, fitted.vcov, by_coefficient=degrees)

    def by_term(self, fitted: FittedRows) -> FloatArray:
        """Degrees of freedom of each term of the fixed part, in the formula's order.

        Raises
        ------
        ModelError
            Without random effects or a formula, or where a rank would take too large matrices.
        """
        frame, design = fitted.frame, fitted.design
        check_rows_are_here(design)
        if not design.random:
            raise ModelError(
                "ddf='containment' needs random effects: without them no effect contains another; "
                "use 'between-within' for a residual structure, or 'residual'"
            )
        if frame is None:
            raise ModelError(
                "ddf='containment' needs the variables of a formula, and this model was made from "
                "arrays; use 'satterthwaite', or 'between-within'"
            )
        effects = _random_effects(frame, fitted)
        x = columns_at([design.x[j] for j in fitted.model.kept], np.arange(design.n_obs))
        ranks = [_rank(design, x, effects[:k]) for k in range(len(effects) + 1)]
        contributions = np.diff(ranks)
        left = float(design.n_observations - ranks[-1])
        degrees = np.empty(len(frame.terms))
        terms = [_fixed_variables(frame, t) for t in range(len(frame.terms))]
        for k, (numeric, categorical) in enumerate(terms):
            found = [
                float(added)
                for effect, added in zip(effects, contributions, strict=True)
                if effect.numeric == numeric and categorical <= effect.categorical
            ]
            degrees[k] = min(found) if found else left
        return degrees


def _random_effects(frame: ModelFrame, fitted: FittedRows) -> list[_RandomEffect]:
    out = []
    design = fitted.design
    for t in fitted.model.order:
        term, spec = design.random[t], frame.random[t]
        group = design.factors[term.factor].columns
        matrix = spec.build(frame.frame)
        for position, label in enumerate(matrix.terms):
            columns = tuple(
                column
                for column, own in zip(term.columns, matrix.term_of_column, strict=True)
                if own == position
            )
            numeric, categorical = _variables(spec, label)
            out.append(_RandomEffect(term.factor, columns, numeric, categorical | set(group)))
    return out


def _fixed_variables(frame: ModelFrame, term: int) -> tuple[frozenset[str], frozenset[str]]:
    return _variables(frame.fixed, frame.terms[term])


def _variables(spec: ModelMatrixSpec, label: str) -> tuple[frozenset[str], frozenset[str]]:
    """Numeric and categorical variables of a term."""
    if label == INTERCEPT:
        return frozenset(), frozenset()
    names, levels = spec.factors[label], spec.levels
    numeric = frozenset(name for name in names if name not in levels)
    return numeric, frozenset(names) - numeric


def _rank(design: Design, x: FloatArray, effects: Sequence[_RandomEffect]) -> int:
    """Rank of [X Z] with the random effects listed."""
    if not effects:
        return int(x.shape[1]) + design.n_absorbed
    if design.absorbed is not None:
        from mlmfast.reduction.absorbed.ranks import rank_beside

        z = [(c, design.factors[e.factor]) for e in effects for c in e.columns]
        return rank_beside(design, x, z)
    factors = {effect.factor for effect in effects}
    columns = [column for effect in effects for column in effect.columns]
    if len(factors) == 1:
        group = design.factors[factors.pop()]
        return rank_by_cluster(group.codes, group.n_levels, x, columns)
    size = x.shape[1] + sum(len(e.columns) * design.factors[e.factor].n_levels for e in effects)
    if size * design.n_obs > _LARGEST:
        raise ModelError(
            f"ddf='containment' needs the rank of [X Z], {design.n_obs:,} rows by {size:,} columns "
            "over several grouping factors, which is too large; use 'satterthwaite'"
        )
    parts = [x]
    for effect in effects:
        factor = design.factors[effect.factor]
        for column in effect.columns:
            dense = np.zeros((design.n_obs, factor.n_levels))
            rows = np.arange(design.n_obs)
            dense[rows, factor.codes] = 1.0 if column is None else column
            parts.append(dense)
    return _numerical_rank(np.hstack(parts))


def rank_by_cluster(
    codes: CodeArray, n_levels: int, x: FloatArray, columns: Sequence[FloatArray | None]
) -> int:
    """Rank of [X Z], one grouping factor: of Z by cluster, then of what it leaves of X."""
    scaled = _scaled(x)
    total, left = 0, np.zeros((0, x.shape[1]))
    for rows in clusters_by_size(codes, n_levels):
        if rows.shape[1] == 0:
            continue
        z = columns_at(columns, rows)
        z = z / np.maximum(np.sqrt((z**2).sum(axis=1, keepdims=True)), 1e-300)
        u, values, _ = np.linalg.svd(z, full_matrices=False)
        kept = values > _TOLERANCE * np.maximum(values[:, :1], 1e-300)
        total += int(kept.sum())
        u = np.where(kept[:, None, :], u, 0.0)
        inside = scaled[rows]
        rest = inside - u @ (u.mT @ inside)
        rest = rest - u @ (u.mT @ rest)
        stacked = np.vstack([left, rest.reshape(rows.size, x.shape[1])])
        left = np.asarray(np.linalg.qr(stacked, mode="r"))
    values = np.linalg.svd(left, compute_uv=False)
    return total + int((values > _TOLERANCE).sum())


def _scaled(matrix: FloatArray) -> FloatArray:
    return np.asarray(matrix / np.maximum(np.sqrt((matrix**2).sum(axis=0)), 1e-300))


def _numerical_rank(matrix: FloatArray) -> int:
    values = np.linalg.svd(_scaled(matrix), compute_uv=False)
    return len(np.flatnonzero(values > _TOLERANCE * values.max()))


def check_positive(degrees: FloatArray, names: list[str]) -> None:
    """Refuse coefficients without degrees of freedom."""
    for value, name in zip(degrees, names, strict=True):
        if value <= 0:
            raise ModelError(
                f"ddf='containment' leaves {value:g} degrees of freedom for {name!r}: the random "
                "effects take up all rows that could tell it; use ddf='satterthwaite'"
            )
