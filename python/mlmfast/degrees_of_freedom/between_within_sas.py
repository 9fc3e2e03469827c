"""Between-within degrees of freedom as PROC MIXED assigns them."""

from __future__ import annotations

from itertools import combinations
from typing import ClassVar

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray, IntArray
from mlmfast.degrees_of_freedom.base import DegreesOfFreedom, TestBasis
from mlmfast.degrees_of_freedom.between_within import refuse_none, subjects, varies
from mlmfast.degrees_of_freedom.containment import rank_by_cluster
from mlmfast.degrees_of_freedom.fitted_rows import FittedRows
from mlmfast.design.columns.model_columns import FactorColumns
from mlmfast.design.columns.model_matrix import INTERCEPT
from mlmfast.design.model_frame import ModelFrame
from mlmfast.design.rows import columns_at
from mlmfast.errors import ModelError

_Factors = frozenset[str]


class BetweenWithinSAS(DegreesOfFreedom):
    """n - rank(X) split between and within subjects, effect by effect (DDFM=BETWITHIN).

    An effect none of whose columns changes within a subject, and the intercept, has the number of
    subjects less that of such columns. The others have what is left of n - rank(X); where several
    of them hold classification variables that change within subjects, and not the same ones, each
    has the part that the interaction of the subjects with these variables takes up: the rank that
    it adds to X, the subjects and their interactions with fewer of the variables. With an
    unstructured residual covariance and no random effects every effect has the between-subject
    number. A contrast has the smallest number among its coefficients.

    ``"between-within"`` is mmrm's: the within-subject number for the intercept, one number for all
    that changes within subjects, and no exception for unstructured residuals.

    References: SAS/STAT User's Guide, MODEL statement of PROC MIXED, DDFM=BETWITHIN, which gives
    the parts in words; those of balanced designs are the classical ones of the analysis of
    variance, (s - 1)(b - 1) for a factor of b levels within s subjects.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> data = mlm.load_sleepstudy()
    >>> mlm.lmm("Reaction ~ Days + (1 | Subject)", data, ddf="between-within-sas").df.to_dict()
    {'(Intercept)': 17.0, 'Days': 161.0}
    """

    name: ClassVar[str] = "between-within-sas"
    label: ClassVar[str] = "between-within (SAS)"
    eager: ClassVar[bool] = True

    def basis(self, fitted: FittedRows) -> TestBasis:
        design = fitted.design
        codes, n_subjects = subjects(design, self.name)
        kept = fitted.model.kept
        changes = np.array([varies(design.x[j], codes, n_subjects) for j in kept], dtype=np.bool_)
        terms = _terms(fitted)
        within = {t for t, own in zip(terms, changes, strict=True) if own}
        outside = float(n_subjects - int((~changes).sum()))
        inside = float(design.n_observations - n_subjects - int(changes.sum()))
        if _is_unstructured(fitted):
            degrees = np.full(len(kept), outside)
        else:
            parts = _parts(fitted, codes, n_subjects, within, inside)
            degrees = np.array([parts.get(t, outside) for t in terms])
        refuse_none(degrees, n_subjects, self.name)
        return TestBasis(self.name, fitted.vcov, fitted.vcov, by_coefficient=degrees)


def _terms(fitted: FittedRows) -> list[int]:
    """The term of each column kept; without a formula a column is one by itself."""
    if fitted.frame is None:
        return list(fitted.model.kept)
    return [fitted.frame.term_of_column[j] for j in fitted.model.kept]


def _is_unstructured(fitted: FittedRows) -> bool:
    residual = fitted.design.residual
    return not fitted.design.random and residual is not None and residual.structure.space == "us"


def _parts(
    fitted: FittedRows, codes: CodeArray, n_subjects: int, within: set[int], inside: float
) -> dict[int, float]:
    """Degrees of freedom of each term that changes within subjects."""
    frame = fitted.frame
    held = {t: _changing_factors(fitted, t, codes, n_subjects) for t in within}
    sets = {own for own in held.values() if own}
    if len(sets) < 2:
        return dict.fromkeys(within, inside)
    assert frame is not None, "factors are known by a formula"
    if fitted.design.condensed is not None:
        raise _needs_rows()
    sizes = _contributions(fitted, frame, codes, sets)
    return {t: sizes.get(own) or inside for t, own in held.items()}


def _changing_factors(fitted: FittedRows, term: int, codes: CodeArray, n_subjects: int) -> _Factors:
    """Classification variables of a term that change within some subject."""
    frame = fitted.frame
    if frame is None or frame.terms[term] == INTERCEPT:
        return frozenset()
    names = frame.fixed.factors[frame.terms[term]]
    return frozenset(
        name
        for name in names
        if name in frame.fixed.levels and _changes(fitted, frame, name, codes, n_subjects)
    )


def _changes(
    fitted: FittedRows, frame: ModelFrame, name: str, codes: CodeArray, n_subjects: int
) -> bool:
    """Whether a factor changes within some subject; of a reduction, by its columns of X."""
    if fitted.design.condensed is None:
        return varies(_codes(frame, name).astype(np.float64), codes, n_subjects)
    own = [j for j, t in enumerate(frame.term_of_column) if frame.terms[t] == name]
    if not own:
        raise _needs_rows()
    return any(varies(fitted.design.x[j], codes, n_subjects) for j in own)


def _needs_rows() -> ModelError:
    return ModelError(
        "ddf='between-within-sas' takes ranks over the rows of factors that change within "
        "subjects, and a reduction holds sums over them; use ddf='between-within' or "
        "'satterthwaite', or fit the rows: mlm.lmm(formula, data)"
    )


def _codes(frame: ModelFrame, name: str) -> CodeArray:
    columns = frame.fixed.variable(name, frame.frame)
    assert isinstance(columns, FactorColumns), "it has levels"
    return columns.factor.codes


def _contributions(
    fitted: FittedRows, frame: ModelFrame, codes: CodeArray, sets: set[_Factors]
) -> dict[_Factors, float]:
    """Rank that the subjects' interaction with each set of factors adds to those with fewer."""
    design = fitted.design
    x = columns_at([design.x[j] for j in fitted.model.kept], np.arange(design.n_obs))
    n_levels = int(codes.max()) + 1
    ranks: dict[frozenset[_Factors], float] = {}

    def rank(of: frozenset[_Factors]) -> float:
        # Combinations of more factors span those of fewer.
        largest = frozenset(own for own in of if not any(own < other for other in of))
        if largest not in ranks:
            ranks[largest] = float(_rank_beside(frame, codes, n_levels, x, largest))
        return ranks[largest]

    out = {}
    for own in sets:
        smaller = {
            frozenset(part)
            for size in range(1, len(own))
            for part in combinations(sorted(own), size)
        }
        out[own] = rank(frozenset({*smaller, own})) - rank(frozenset(smaller))
    return out


def _rank_beside(
    frame: ModelFrame,
    codes: CodeArray,
    n_levels: int,
    x: FloatArray,
    sets: frozenset[_Factors],
) -> int:
    """Rank of [X Z], Z the indicators of subjects by the combinations of each set of factors."""
    if len(sets) <= 1:
        # Z's columns are those of one factor.
        cells, n_cells = _cells(frame, frozenset().union(*sets))
        both, own = np.unique(codes.astype(np.int64) * n_cells + cells, return_inverse=True)
        return rank_by_cluster(own.astype(np.int32), len(both), x, [None])
    columns: list[FloatArray | None] = [None]
    for own_set in sorted(sets, key=sorted):
        cells, n_cells = _cells(frame, own_set)
        columns += [(cells == k).astype(np.float64) for k in range(n_cells)]
    return rank_by_cluster(codes, n_levels, x, columns)


def _cells(frame: ModelFrame, names: _Factors) -> tuple[IntArray, int]:
    """Combination of some factors that each row has, and how many occur."""
    combined = np.zeros(frame.frame.n_rows, dtype=np.int64)
    for name in sorted(names):
        own = _codes(frame, name)
        combined = combined * (int(own.max()) + 1) + own
    found, place = np.unique(combined, return_inverse=True)
    return place.astype(np.intp), len(found)
