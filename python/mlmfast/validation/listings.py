"""Listings that SAS prints for examples in its documentation, to the printed digit.

SAS/STAT User's Guide, The MIXED Procedure: "Split-Plot Design" (data of Stroup 1989) and "Repeated
Measures" (data of Pothoff and Roy 1964). PROC MIXED stops its iteration early now and then: a last
printed digit may be one off.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.model import lmm
from mlmfast.result import LMMResult
from mlmfast.validation.check import Check

_SPLIT_PLOT = """
1 1 1 56  1 1 2 41  1 2 1 50  1 2 2 36  1 3 1 39  1 3 2 35
2 1 1 30  2 1 2 25  2 2 1 36  2 2 2 28  2 3 1 33  2 3 2 30
3 1 1 32  3 1 2 24  3 2 1 31  3 2 2 27  3 3 1 15  3 3 2 19
4 1 1 30  4 1 2 25  4 2 1 35  4 2 2 30  4 3 1 17  4 3 2 18
"""
#: By structure: covariance parameters with standard errors, -2 log-likelihood, fixed effects with
#: standard errors, F of Sex, age and Sex by age.
_GROWTH: dict[str, dict[str, Any]] = {
    "us(age | Subject)": {
        "parameters": {
            "UN(1,1)": (5.1192, 1.4169), "UN(2,1)": (2.4409, 0.9835), "UN(2,2)": (3.9279, 1.0824),
            "UN(3,1)": (3.6105, 1.2767), "UN(3,2)": (2.7175, 1.0740), "UN(3,3)": (5.9798, 1.6279),
            "UN(4,1)": (2.5222, 1.0649), "UN(4,2)": (3.0624, 1.0135), "UN(4,3)": (3.8235, 1.2508),
            "UN(4,4)": (4.6180, 1.2573),
        },
        "deviance": 419.5,
        "beta": [15.8423, 1.5831, 0.8268, -0.3504],
        "beta_errors": [0.9356, 1.4658, 0.0791, 0.1239],
        "F": [1.17, 110.54, 7.99],
    },
    "cs(age | Subject)": {
        "parameters": {"CS": (3.0306, 0.9552), "Variance": (1.8746, 0.2946)},
        "deviance": 428.6,
        "beta": [16.3406, 1.0321, 0.7844, -0.3048],
        "beta_errors": [0.9631, 1.5089, 0.0765, 0.1199],
        "F": [0.47, 111.10, 6.46],
    },
    "cs(age | Sex / Subject)": {
        "parameters": {
            "Female: Variance": (0.5900, 0.1453), "Female: CS": (3.8804, 1.7179),
            "Male: Variance": (2.7577, 0.5629), "Male: CS": (2.4463, 1.1175),
        },
        "deviance": 408.8,
        "beta": [16.3406, 1.0321, 0.7844, -0.3048],
        "beta_errors": [1.1130, 1.3890, 0.0928, 0.1063],
        "F": [0.55, 141.37, 8.22],
    },
}  # fmt: skip


def listings(growth: pd.DataFrame) -> Iterator[Check]:
    """What SAS prints, as checks.

    Parameters
    ----------
    growth
        Distances of Pothoff and Roy: columns ``distance``, ``age``, ``Sex``, ``Subject``.
    """
    yield from _split_plot()
    for residual, expected in _GROWTH.items():
        fit = lmm("distance ~ Sex * age", growth, residual=residual, method="ML")
        yield from _growth(f"Repeated Measures, {residual}", fit, expected)


def _split_plot() -> Iterator[Check]:
    columns = np.array(_SPLIT_PLOT.split(), dtype=int).reshape(-1, 4)
    data = pd.DataFrame(columns, columns=["Block", "A", "B", "Y"])
    data = data.astype({"Block": str, "A": str, "B": str})
    fit = lmm("Y ~ A * B + (1 | Block) + (1 | A:Block)", data, ddf="containment")
    parameters = fit.covariance_parameters.to_numpy()
    yield _printed("Split-Plot Design", "variances", parameters, [62.3958, 15.3819, 9.3611], 4)
    yield _printed("Split-Plot Design", "-2 log-likelihood", [fit.deviance], [119.76184570], 8)
    table = fit.anova(3).frame
    yield _printed("Split-Plot Design", "F, type III", table["F value"], [4.07, 19.39, 4.02], 2)
    p_values = [0.0764, 0.0017, 0.0566]
    yield _printed("Split-Plot Design", "p, type III", table["Pr(>F)"], p_values, 4)
    mean = fit.estimate({"(Intercept)": 1, "B2": 0.5}, ddf=9)
    yield _printed("Split-Plot Design", "broad mean of A", [mean.estimate], [32.8750], 4)
    yield _printed("Split-Plot Design", "its standard error", [mean.se], [4.5403], 4)


def _growth(name: str, fit: LMMResult, expected: dict[str, Any]) -> Iterator[Check]:
    table = fit.covtest().table.loc[list(expected["parameters"])]
    parameters, errors = zip(*expected["parameters"].values(), strict=True)
    yield _printed(name, "covariance parameters", table["estimate"], parameters, 4)
    yield _printed(name, "their standard errors", table["se"], errors, 4)
    yield _printed(name, "-2 log-likelihood", [fit.deviance], [expected["deviance"]], 1)
    yield _printed(name, "fixed effects", fit.params, expected["beta"], 4)
    yield _printed(name, "their standard errors", fit.bse, expected["beta_errors"], 4)
    yield _printed(name, "F, type III", fit.anova(3).frame["F value"], expected["F"], 2)


def _printed(
    listing: str, quantity: str, found: Any, expected: Sequence[float], digits: int
) -> Check:
    """Equal up to one unit of the last digit printed."""
    values, right = np.asarray(found, dtype=float), np.asarray(expected)
    if values.shape != right.shape:
        return Check("OQ-10", listing, quantity, holds=False, note=f"{len(values)} numbers")
    difference = float(np.abs(values - right).max())
    note = f"absolute, {digits} printed decimals"
    return Check("OQ-10", listing, quantity, "", difference, 1.01 * 10.0**-digits, note=note)
