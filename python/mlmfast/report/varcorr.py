"""Variance components as people read them: by grouping factor, as SDs and correlations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray, block_diagonal
from mlmfast.covariance.correlations import correlations, roots
from mlmfast.design.factors.frame_by_group import FrameByGroup
from mlmfast.design.residual.record import ResidualRecord
from mlmfast.fitted.record import FitRecord
from mlmfast.formula.residual_formula import is_correlated
from mlmfast.handed_out import handed_out

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

_Row = tuple[str, str | None, str | None, float, float]
_COLUMNS = ["group", "effect1", "effect2", "vcov", "sdcor"]


class VarCorr(FrameByGroup):
    """Covariance matrices of the random effects by grouping factor.

    A mapping from the name of a grouping factor to a data frame; several terms on one factor are
    stacked, with zeros between them, and NaN where no data tell a covariance. An interaction is
    also found by lme4's name, "b:a" for "a:b". As one data frame it has a row a parameter, as
    `tidy`; a column of it is found by name where no grouping factor has that name, and methods of
    pandas are those of these rows. Functions that ask for ``len`` or ``in`` take ``to_frame()``.
    Prints as a table of standard deviations and correlations, the residual's below.

    Parameters
    ----------
    record
        The fit.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> fit.varcorr["Subject"].round(1)
                 (Intercept)  Days
    (Intercept)        612.1   9.6
    Days                 9.6  35.1
    """

    _metadata = [*FrameByGroup._metadata, "_record"]  # noqa: RUF012

    def __init__(self, record: FitRecord) -> None:
        parts = {
            group.name: _stacked(record, position)
            for position, group in enumerate(record.groups)
            if record.terms_on(position)
        }
        super().__init__(_parameter_rows(record), parts)
        self._record = record

    def tidy(self) -> pd.DataFrame:
        """One row a parameter: group, effects, variance or covariance, SD or correlation.

        A residual covariance has a row for each pair of visits, group "Residual" (or
        "Residual: arm"); `LMMResult.residual_parameters` are its parameters, which stand here
        only where there are too many points for pairs.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
        >>> fit.varcorr.tidy().round(2)[["group", "vcov", "sdcor"]]
              group     vcov  sdcor
        0   Subject  1378.18  37.12
        1  Residual   960.46  30.99
        """
        return self.frame

    @handed_out
    def parameters(self) -> pd.DataFrame:
        """Natural parameters of the structured terms, as SAS names them.

        Columns group, term, parameter and estimate. `us` and `diag` are not listed: their
        parameters are the elements of G. NaN where a variance of 0 leaves a correlation or a range
        undetermined.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> fit = mlm.lmm("Reaction ~ Days + csh(1 + Days | Subject)", mlm.load_sleepstudy())
        >>> fit.varcorr.parameters[["parameter", "estimate"]].round(2)
          parameter  estimate
        0    Var(1)    612.09
        1    Var(2)     35.07
        2       CSH      0.07
        """
        rows = [
            (self._record.groups[term.group].name, term.text, name, value)
            for term in self._record.terms
            for name, value in zip(term.parameter_names, term.parameters.tolist(), strict=True)
        ]
        return pd.DataFrame(rows, columns=["group", "term", "parameter", "estimate"])

    def __repr__(self) -> str:
        from mlmfast.report.summary import variance_table

        return variance_table(self._record)


def varcorr(fit: Fitted) -> VarCorr:
    """Covariances of the random effects by grouping factor; prints the residual's too."""
    return VarCorr(fit._record)


def _parameter_rows(record: FitRecord) -> pd.DataFrame:
    """A row a parameter: group, effects, variance or covariance, SD or correlation."""
    rows: list[_Row] = []
    for term in record.shown_terms:
        group = record.groups[term.group].name
        correlated = not term.kind.variances_alone
        rows += _rows(group, term.names, term.told, correlated)
    if record.residual is None:
        rows.append(("Residual", None, None, record.sigma2, float(np.sqrt(record.sigma2))))
    else:
        rows += _residual_rows(record.residual)
    return pd.DataFrame(rows, columns=_COLUMNS)


def _rows(group: str, names: tuple[str, ...], covariance: FloatArray, pairs: bool) -> list[_Row]:
    """List variances, then covariances if there are any."""
    correlation = correlations(covariance)
    rows: list[_Row] = [
        (group, name, None, float(v), float(sd))
        for name, v, sd in zip(names, np.diag(covariance), roots(np.diag(covariance)), strict=True)
    ]
    if pairs:
        rows += [
            (group, names[j], name, float(covariance[i, j]), float(correlation[i, j]))
            for i, name in enumerate(names)
            for j in range(i)
        ]
    return rows


def _residual_rows(residual: ResidualRecord) -> list[_Row]:
    if not residual.visits:
        pairs = zip(residual.parameter_names, residual.told_parameters.tolist(), strict=True)
        return [("Residual", name, None, value, np.nan) for name, value in pairs]
    rows: list[_Row] = []
    for arm, covariance in zip(residual.arms, residual.told, strict=True):
        group = f"Residual: {arm}" if len(residual.arms) > 1 else "Residual"
        correlated = is_correlated(residual.structure)
        rows += _rows(group, residual.visits, covariance, correlated)
    return rows


def _stacked(record: FitRecord, group: int) -> pd.DataFrame:
    terms = [term for term in record.shown_terms if term.group == group]
    names = [name for term in terms for name in term.names]
    return pd.DataFrame(block_diagonal([t.told for t in terms]), index=names, columns=names)
