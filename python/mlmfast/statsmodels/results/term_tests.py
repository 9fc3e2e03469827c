"""Wald tests of the terms of a formula, each of all its columns at once."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from mlmfast.arrays import FloatArray
from mlmfast.statsmodels.results.arrays import ResultArrays


def wald_test_terms(
    self: ResultArrays,
    skip_single: bool = False,
    extra_constraints: Sequence[tuple[str, Any]] | None = None,
    combine_terms: Sequence[str] | None = None,
    scalar: bool = True,
) -> Any:
    """Chi-square tests that all coefficients of a term are 0, a term a row.

    Parameters
    ----------
    skip_single
        Whether terms of one column are left out.
    extra_constraints
        Pairs of a name and a matrix with a column for each fixed effect.
    combine_terms
        Texts: the terms whose names hold one are tested together.
    scalar
        Without effect: statistics are numbers.

    Returns
    -------
    statsmodels' ``WaldTestResults``, whose ``table`` is a frame; the frame itself without it
    """
    tests = [
        (name, rows) for name, rows in _terms(self).items() if not (skip_single and len(rows) == 1)
    ]
    for text in combine_terms or ():
        rows = [own for name, own in _terms(self).items() if text in name]
        tests.append((text, np.vstack(rows)))
    for name, matrix in extra_constraints or ():
        tests.append((name, np.atleast_2d(np.asarray(matrix, dtype=np.float64))[:, : self.k_fe]))
    columns = ["statistic", "pvalue", "df_constraint"]
    found = [_test(self, rows) for _, rows in tests]
    table = pd.DataFrame(found, index=[name for name, _ in tests], columns=columns)
    table["df_constraint"] = table["df_constraint"].astype(int)
    try:
        contrast = import_module("statsmodels.stats.contrast")
    except ImportError:
        return table
    return contrast.WaldTestResults(None, "chi2", None, table=table)


def _terms(results: ResultArrays) -> dict[str, FloatArray]:
    """Rows of the identity by term; by column for a model made from arrays."""
    identity = np.eye(results.k_fe)
    source = results.model._source
    if source is None:
        return {name: identity[k : k + 1] for k, name in enumerate(results.model.data.xnames)}
    out, at = {}, 0
    for name, width in source.fixed.columns_of_terms.items():
        if width:
            out[name] = identity[at : at + width]
        at += width
    return out


def _test(results: ResultArrays, rows: FloatArray) -> tuple[float, float, int]:
    effect = rows @ results.fe_params
    fixed = results._cov[: results.k_fe, : results.k_fe]
    statistic = float(effect @ np.linalg.solve(rows @ fixed @ rows.T, effect))
    return statistic, float(special.chdtrc(len(rows), statistic)), len(rows)
