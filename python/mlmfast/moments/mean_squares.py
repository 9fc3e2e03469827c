"""Mean squares, what they estimate, and F tests by the errors that their expectations call for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.display.table_result import TableResult
from mlmfast.errors import ModelError
from mlmfast.moments.effects import Effects, check_effects, is_tested
from mlmfast.moments.quadratic_forms import SquareOfEffect, covariance_of_squares, square_of

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

#: Weight of a mean square in an error term that is rounding.
_ROUNDING = 1e-9
#: Smallest singular value of the expectations, over the largest, that tells the variances apart.
_SINGULAR = 1e-10
_ROMAN = {1: "I", 2: "II", 3: "III"}


@dataclass(frozen=True)
class TypeEstimates:
    """Variances estimated from mean squares of one type.

    Attributes
    ----------
    variances : shape (k,), of the random terms.
    residual
        Residual variance.
    covariance : shape (k + 1, k + 1), of these estimators.
    table
        The mean squares.
    """

    variances: FloatArray
    residual: float
    covariance: FloatArray
    table: pd.DataFrame


class MeanSquares(TableResult):
    """Mean squares of all effects with F tests, as PROC MIXED prints them for METHOD=TYPE1-3.

    Attributes
    ----------
    frame : DataFrame
        By source: df, "Sum Sq", "Mean Sq", "Expected mean square", "Error term", "Error df"
        (Satterthwaite's where the error is made of several mean squares), "F value", "Pr(>F)".
    """

    _metadata = ["title", "notes", "kind"]  # noqa: RUF012

    def __init__(self, frame: pd.DataFrame, kind: int, notes: tuple[str, ...] = ()) -> None:
        super().__init__(frame, notes)
        self.kind = kind

    def _title(self) -> str:
        return f"Type {_ROMAN[self.kind]} analysis of variance"


def mean_squares(fit: Fitted) -> MeanSquares:
    """Mean squares, their expectations and F tests of a fit by ``method="type1"``, "2" or "3".

    Raises
    ------
    ModelError
        Where the fit is by another method, or was loaded.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> data = mlm.load_sleepstudy()
    >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", data, method="type3")
    >>> fit.mean_squares.frame["Expected mean square"].to_dict()  # doctest: +NORMALIZE_WHITESPACE
    {'Days': 'Var(Residual) + Q(Days)', 'Subject': 'Var(Residual) + 10 Var(Subject)',
     'Residual': 'Var(Residual)'}
    """
    moments = fit._needs_source("mean squares").moments
    if moments is None or moments.table is None:
        raise ModelError(
            "mean squares belong to fits by method='type1', 'type2' or 'type3'; this one is by "
            f"method={fit.method!r}"
        )
    return MeanSquares(moments.table.copy(), int(moments.method[-1]))


def estimate_by_type(effects: Effects, y: FloatArray, kind: int) -> TypeEstimates:
    """Variances that equate the mean squares of random effects to their expectations.

    Raises
    ------
    ModelError
        Where an effect has no degrees of freedom, or mean squares do not tell the variances.
    """
    labels = effects.labels
    check_effects(labels, effects.n_fixed)
    squares = [square_of(effects, t, kind, y) for t in range(len(labels)) if is_tested(labels[t])]
    rest = y - effects.basis @ (effects.basis.T @ y)
    df = len(y) - effects.basis.shape[1]
    if df == 0:
        raise ModelError(
            f"method='type{kind}' needs a residual: fixed and random effects have as many degrees "
            f"of freedom as there are rows, {len(y)}"
        )
    residual = float(rest @ rest) / df
    random = squares[len(squares) - len(effects.codes) :]
    _check_degrees(random, kind)
    matrix = np.stack([square.coefficients for square in random]) if random else np.zeros((0, 0))
    _check_told(random, matrix, kind)
    means = np.array([square.value / square.df for square in random])
    variances = np.linalg.solve(matrix, means - residual) if random else means
    # Variances by mean squares, the residual's last.
    inverse = np.linalg.inv(matrix) if random else matrix
    k = len(random)
    by_means = np.eye(k + 1)
    by_means[:k, :k], by_means[:k, k] = inverse, -inverse.sum(axis=1)
    spread = covariance_of_squares(random, variances, residual, df)
    table = _table(squares, random, matrix, labels[effects.n_fixed :], float(rest @ rest), df)
    return TypeEstimates(variances, residual, by_means @ spread @ by_means.T, table)


def _check_degrees(random: Sequence[SquareOfEffect], kind: int) -> None:
    for square in random:
        if square.df == 0:
            raise ModelError(
                f"the random effect {square.label!r} has no degrees of freedom of its own in the "
                f"analysis of variance of type {kind}: other effects explain all of it. Leave one "
                "of them out, or use method='REML'"
            )


def _check_told(random: Sequence[SquareOfEffect], matrix: FloatArray, kind: int) -> None:
    for square in random:
        if square.fixed:
            raise ModelError(
                f"the mean square of the random effect {square.label!r} depends on fixed effects "
                f"({', '.join(square.fixed)}), so that it tells no variance; use method='REML'"
            )
    sizes = np.linalg.svd(matrix, compute_uv=False)
    if len(sizes) and sizes[-1] <= _SINGULAR * sizes[0]:
        raise ModelError(
            f"mean squares of type {kind} do not tell the variances of "
            f"{', '.join(square.label for square in random)} apart; use method='REML'"
        )


@dataclass(frozen=True)
class _Errors:
    """Mean squares that errors are made of: those of the random effects, the residual's last."""

    labels: tuple[str, ...]
    means: FloatArray
    df: FloatArray
    matrix: FloatArray

    def of(self, square: SquareOfEffect, own: int | None) -> FloatArray:
        """Weights of the mean squares whose sum has the expectation of one under its hypothesis."""
        k = len(self.matrix)
        wanted = square.coefficients.copy()
        if own is not None:
            wanted[own] = 0.0
        weights = np.linalg.solve(self.matrix.T, wanted) if k else wanted
        weights = np.where(np.abs(weights) > _ROUNDING, weights, 0.0)
        rest = 1.0 - weights.sum()
        return np.append(weights, rest if abs(rest) > _ROUNDING else 0.0)

    def text(self, weights: FloatArray) -> str:
        """An error term in words."""
        pairs = zip(weights.tolist(), self.labels, strict=True)
        return _sum([(weight, f"MS({label})") for weight, label in pairs if weight != 0.0])


def _table(
    squares: Sequence[SquareOfEffect],
    random: Sequence[SquareOfEffect],
    matrix: FloatArray,
    names: Sequence[str],
    rest: float,
    df: int,
) -> pd.DataFrame:
    errors = _Errors(
        (*names, "Residual"),
        np.array([*(square.value / square.df for square in random), rest / df]),
        np.array([*(square.df for square in random), df], dtype=np.float64),
        matrix,
    )
    rows = {}
    for square in squares:
        own = next((k for k, other in enumerate(random) if other is square), None)
        rows[square.label] = _row(square, own, errors, names)
    nothing = ("", np.nan, np.nan, np.nan)
    rows["Residual"] = (df, rest, rest / df, "Var(Residual)", *nothing)
    columns = ["df", "Sum Sq", "Mean Sq", "Expected mean square", "Error term", "Error df"]
    return pd.DataFrame.from_dict(
        rows, orient="index", columns=[*columns, "F value", "Pr(>F)"]
    ).rename_axis("source")


def _row(
    square: SquareOfEffect, own: int | None, errors: _Errors, names: Sequence[str]
) -> tuple[object, ...]:
    if square.df == 0:
        return (0, 0.0, np.nan, "", "", np.nan, np.nan, np.nan)
    mean = square.value / square.df
    weights = errors.of(square, own)
    parts = weights * errors.means
    error, spread = float(parts.sum()), float((parts**2 / errors.df).sum())
    statistic, error_df, p = np.nan, np.nan, np.nan
    if error > 0 and spread > 0:
        from scipy.stats import f as f_distribution

        statistic, error_df = mean / error, error**2 / spread
        p = float(f_distribution.sf(statistic, square.df, error_df))
    expected = _expected(square, names)
    head = (square.df, square.value, mean, expected, errors.text(weights))
    return (*head, error_df, statistic, p)


def _expected(square: SquareOfEffect, names: Sequence[str]) -> str:
    """An expected mean square in PROC MIXED's words."""
    pairs = list(zip(square.coefficients.tolist(), names, strict=True))
    terms = [(value, f"Var({name})") for value, name in reversed(pairs) if value > 0.0]
    text = _sum([(1.0, "Var(Residual)"), *terms])
    return f"{text} + Q({', '.join(square.fixed)})" if square.fixed else text


def _sum(terms: Sequence[tuple[float, str]]) -> str:
    """Weights and names as a sum.

    Examples
    --------
    >>> _sum([(1.0, "a"), (-2.5, "b")])
    'a - 2.5 b'
    """
    out = ""
    for weight, name in terms:
        size = f"{abs(weight):.5g}"
        text = name if size == "1" else f"{size} {name}"
        sign = "-" if weight < 0 else "+"
        out += f" {sign} {text}" if out else (f"-{text}" if weight < 0 else text)
    return out
