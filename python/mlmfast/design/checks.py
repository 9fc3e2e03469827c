"""What is refused of a design: what no data could estimate, columns without a meaning."""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import BoolArray
from mlmfast.data.finite import check_finite
from mlmfast.design.design import Design
from mlmfast.errors import ModelError

#: Share of a column outside the span of others, below which it counts as aliased.
_ALIASED = 1e-7
#: Numbers in the largest X whose rank decides whether residual degrees of freedom are left.
_LARGEST = 1_000_000


def _leaves_rows(design: Design) -> bool:
    """Whether the rank of X, which has as many columns as rows, is below their number.

    Cells that no row has give columns of zeros. The rank of others is taken of small designs alone.
    """
    n = design.n_observations
    columns = [np.ones(design.n_obs) if column is None else column for column in design.x]
    columns = [column for column in columns if column.any()]
    if len(columns) < n or n * len(columns) > _LARGEST or design.condensed is not None:
        return len(columns) < n
    x = np.stack(columns, axis=1)
    return int(np.linalg.matrix_rank(x / np.linalg.norm(x, axis=0), tol=_ALIASED)) < n


def check_identified(design: Design) -> None:
    """Refuse designs that no data could estimate, saying why."""
    n, p = design.n_observations, len(design.x) + design.n_absorbed
    if p >= n and (design.absorbed is not None or not _leaves_rows(design)):
        raise ModelError(
            f"{p} fixed-effect columns and {n} rows: nothing is left to estimate the residual "
            "variance from; use fewer fixed effects or more data"
        )
    for factor in {term.factor: design.factors[term.factor] for term in design.random}.values():
        if factor.has_all_rows:
            continue
        if factor.n_levels < 2:
            raise ModelError(
                f"grouping factor {factor.name!r} has 1 level ({factor.labels[0]!r}); a random "
                "effect needs at least 2"
            )
        if factor.n_levels >= n and factor.relationship is None and _has_equal_variances(design):
            raise ModelError(
                f"grouping factor {factor.name!r} has as many levels as there are rows ({n}); its "
                "effects cannot be told from the residual (unless weights= differ, as in a "
                "meta-analysis): leave the term out"
            )


def _has_equal_variances(design: Design) -> bool:
    """Whether residuals are independent with one variance, like effects with a level a row."""
    weights = design.weights if design.is_weighted else None
    return design.residual is None and (weights is None or bool((weights == weights[0]).all()))


def check_columns(design: Design, used: BoolArray | None = None) -> None:
    """Refuse infinite values anywhere, and slopes on a constant.

    ``used`` says which rows of the user's table they are; None for all.
    """
    known = design.statistics
    # All at once, so that each is looked at in one call of the core.
    known.of([column for column in design.x if column is not None])
    for name, column in zip(design.x_names, design.x, strict=True):
        if column is not None and not known.one(column).is_finite:
            check_finite(name, column, used)
    for term in design.random:
        known.of([column for column in term.columns if column is not None])
        for name, column in zip(term.names, term.columns, strict=True):
            if column is None:
                continue
            s = known.one(column)
            if not s.is_finite:
                check_finite(name, column, used)
            if s.smallest == s.largest:
                raise ModelError(
                    f"in the random-effects term {term.text} the column {name!r} is constant "
                    f"({s.smallest:g}); a slope needs a covariate that varies, and 1 + ... an "
                    "intercept"
                )
