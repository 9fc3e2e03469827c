"""Between-within degrees of freedom."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mlmfast.arrays import BoolArray, CodeArray, FloatArray
from mlmfast.degrees_of_freedom.base import DegreesOfFreedom, TestBasis
from mlmfast.degrees_of_freedom.fitted_rows import FittedRows
from mlmfast.design.design import Design, check_rows_are_here
from mlmfast.errors import ModelError


class BetweenWithin(DegreesOfFreedom):
    """n - rank(X) split into parts between and within subjects (SAS's DDFM=BETWITHIN).

    A coefficient whose column of X changes within some subject, and the intercept, has
    n - n_subjects - (number of columns that change) degrees of freedom; one that does not has
    n_subjects - (number of columns that do not change, the intercept among them). Subjects are
    those of ``residual=``, or the levels of the outermost grouping factor, smooths aside. A
    contrast has the smallest number among its coefficients.

    As mmrm; PROC MIXED's own assignment is ``"between-within-sas"``. nlme's inner-outer
    rule is of the same kind, level by level of nested groups, and is not offered.

    References: Schluchter and Elashoff (1990) Journal of Statistical Computation and Simulation
    37:69; SAS/STAT User's Guide, MODEL statement of PROC MIXED, DDFM=BETWITHIN.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> data = mlm.load_sleepstudy()
    >>> mlm.lmm("Reaction ~ Days + (1 | Subject)", data, ddf="between-within").df.to_dict()
    {'(Intercept)': 161.0, 'Days': 161.0}
    """

    name: ClassVar[str] = "between-within"
    label: ClassVar[str] = "between-within"
    eager: ClassVar[bool] = True

    def basis(self, fitted: FittedRows) -> TestBasis:
        codes, n_subjects = subjects(fitted.design)
        design = fitted.design
        columns = [design.x[j] for j in fitted.model.kept]
        constant = np.array([is_constant(column) for column in columns], dtype=np.bool_)
        within = np.array([varies(c, codes, n_subjects) for c in columns], dtype=np.bool_)
        n_within = int(within.sum())
        inside = float(design.n_observations - n_subjects - n_within)
        outside = float(n_subjects - (len(columns) - n_within))
        degrees = np.where(within | constant, inside, outside)
        refuse_none(degrees, n_subjects)
        return TestBasis(self.name, fitted.vcov, fitted.vcov, by_coefficient=degrees)


def subjects(design: Design) -> tuple[CodeArray, int]:
    """Codes of the subjects, those of ``residual=`` or the outermost grouping factor's levels."""
    check_rows_are_here(design)
    # A scale of single rows leaves them independent: its units are no subjects.
    if design.residual is not None and design.residual.formula is not None:
        subject = design.residual.subject
        if design.condensed is not None:
            return subject.codes, subject.n_levels
        return subject.codes, len(np.unique(subject.codes))
    used = {term.factor for term in design.random if not _is_of_curves(design, term.factor)}
    if not used:
        raise ModelError(
            "ddf='between-within' needs subjects, and the model has neither random effects nor a "
            "residual structure; use ddf='residual'"
        )
    shared = next((f for f in used if design.factors[f].has_all_rows), None)
    if shared is not None:
        raise ModelError(
            f"ddf='between-within' needs subjects, and all rows share the effects of "
            f"{design.factors[shared].name}; use ddf='satterthwaite'"
        )
    outermost, *inner = sorted(used, key=lambda f: design.factors[f].n_levels)
    codes = design.factors[outermost].codes
    for factor in inner:
        first = np.empty(design.factors[factor].n_levels, dtype=codes.dtype)
        first[design.factors[factor].codes] = codes
        if (first[design.factors[factor].codes] != codes).any():
            raise ModelError(
                f"ddf='between-within' needs subjects, and the grouping factors "
                f"{design.factors[outermost].name!r} and {design.factors[factor].name!r} are "
                "crossed; use ddf='satterthwaite'"
            )
    return codes, len(np.unique(codes))


def _is_of_curves(design: Design, factor: int) -> bool:
    return design.factors[factor].has_curves


def is_constant(column: FloatArray | None) -> bool:
    """Whether a column of X holds one value."""
    return column is None or bool((column == column[0]).all())


def varies(column: FloatArray | None, codes: CodeArray, n_subjects: int) -> bool:
    """Whether a column of X changes within some subject."""
    if column is None:
        return False
    first = np.empty(int(codes.max()) + 1)
    first[codes[::-1]] = column[::-1]
    changed: BoolArray = column != first[codes]
    return bool(changed.any())


def refuse_none(degrees: FloatArray, n_subjects: int, name: str = "between-within") -> None:
    """Refuse degrees of freedom of 0 or less."""
    if degrees.size and degrees.min() <= 0:
        raise ModelError(
            f"ddf={name!r} leaves {degrees.min():g} degrees of freedom: {n_subjects} "
            "subjects are too few for the coefficients; use ddf='satterthwaite'"
        )
