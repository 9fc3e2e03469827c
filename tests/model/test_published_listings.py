"""Listings that SAS prints for the examples in its documentation, to the printed digit.

SAS/STAT User's Guide, The MIXED Procedure: Example "Split-Plot Design" (data of Stroup 1989),
Example "Repeated Measures" (data of Pothoff and Roy 1964) and Example "Influence in Heterogeneous
Variance Model" (data of Snedecor and Cochran). PROC MIXED stops its iteration early now and then:
its last printed digit may be one off.
"""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import ModelError

from ..cases import data_of

SPLIT_PLOT = """
1 1 1 56  1 1 2 41  1 2 1 50  1 2 2 36  1 3 1 39  1 3 2 35
2 1 1 30  2 1 2 25  2 2 1 36  2 2 2 28  2 3 1 33  2 3 2 30
3 1 1 32  3 1 2 24  3 2 1 31  3 2 2 27  3 3 1 15  3 3 2 19
4 1 1 30  4 1 2 25  4 2 1 35  4 2 2 30  4 3 1 17  4 3 2 18
"""
ABSORBED = {
    "1": [164, 172, 168, 177, 156, 195],
    "2": [178, 191, 197, 182, 185, 177],
    "3": [175, 193, 178, 171, 163, 176],
    "4": [155, 166, 149, 164, 170, 168],
}


@pytest.fixture(scope="module")
def split_plot():
    columns = np.array(SPLIT_PLOT.split(), dtype=int).reshape(-1, 4)
    data = pd.DataFrame(columns, columns=["Block", "A", "B", "Y"])
    return data.astype({"Block": str, "A": str, "B": str})


@pytest.fixture(scope="module")
def plots(split_plot):
    return mlm.lmm("Y ~ A * B + (1 | Block) + (1 | A:Block)", split_plot, ddf="containment")


def printed(found, expected, digits):
    """Equal up to one unit of the last digit printed."""
    np.testing.assert_allclose(found, expected, atol=1.01 * 10.0**-digits, rtol=0)


def test_split_plot_estimates_and_criteria(plots, split_plot):
    printed(plots.covariance_parameters, [62.3958, 15.3819, 9.3611], 4)
    printed(plots.deviance, 119.76184570, 8)
    printed(plots.information_criteria(convention="sas"), [125.8, 127.5, 123.9], 1)
    null = mlm.lmm("Y ~ A * B", split_plot)
    printed(null.deviance, 139.81461222, 8)


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_split_plot_tests_of_fixed_effects(plots, kind):
    table = plots.anova(kind)
    printed(table["F value"], [4.07, 19.39, 4.02], 2)
    assert table["DenDF"].tolist() == [6.0, 9.0, 9.0]
    printed(table["Pr(>F)"], [0.0764, 0.0017, 0.0566], 4)


def test_split_plot_inference_spaces(plots):
    """Narrow, intermediate and broad means of the first level of A."""
    blocks = {str(k): 0.25 for k in range(1, 5)}
    by_block = {f"1:{k}": 0.25 for k in range(1, 5)}
    mean = {"(Intercept)": 1, "B2": 0.5}
    narrow = plots.estimate(mean, ddf=9, random={"Block": blocks, "A:Block": by_block})
    intermediate = plots.estimate(mean, ddf=9, random={"Block": blocks})
    broad = plots.estimate(mean, ddf=9)
    for test, se, t in (
        (narrow, 1.0817, 30.39),
        (intermediate, 2.2396, 14.68),
        (broad, 4.5403, 7.24),
    ):
        printed(test.estimate, 32.8750, 4)
        printed(test.se, se, 4)
        printed(test.statistic, t, 2)
    # In a balanced design these are exact: the plots' error, and the whole plots' error.
    by_variance = {
        "narrow": plots.estimate(
            mean, ddf="satterthwaite", random={"Block": blocks, "A:Block": by_block}
        ),
        "intermediate": plots.estimate(mean, ddf="satterthwaite", random={"Block": blocks}),
    }
    assert by_variance["narrow"].df == pytest.approx(9.0, rel=1e-6)
    assert by_variance["intermediate"].df == pytest.approx(6.0, rel=1e-6)


def test_effects_that_do_not_exist(plots):
    mean = {"(Intercept)": 1}
    with pytest.raises(ModelError, match="did you mean 'Block'"):
        plots.estimate(mean, random={"Blok": {"1": 1}})
    with pytest.raises(ModelError, match="no level of 'Block' '9'"):
        plots.estimate(mean, random={"Block": {"9": 1}})
    with pytest.raises(ModelError, match="no random effect of 'Block' 'x'"):
        plots.estimate(mean, random={"Block": {"1": {"x": 1}}})
    with pytest.raises(ModelError, match="no number"):
        plots.estimate(mean, random={"Block": {"1": "a"}})
    with pytest.raises(ModelError, match="weight for each level"):
        plots.estimate(mean, random={"Block": 1})
    with pytest.raises(ModelError, match="one linear function"):
        plots.estimate(["A2", "A3"], random={"Block": {"1": 1}})
    with pytest.raises(ModelError, match="use 'sas'"):
        plots.information_criteria(convention="spss")


GROWTH = {
    "us(age | Subject)": {
        "estimate": {
            "UN(1,1)": (5.1192, 1.4169, 3.61, 0.0002),
            "UN(2,1)": (2.4409, 0.9835, 2.48, 0.0131),
            "UN(2,2)": (3.9279, 1.0824, 3.63, 0.0001),
            "UN(3,1)": (3.6105, 1.2767, 2.83, 0.0047),
            "UN(3,2)": (2.7175, 1.0740, 2.53, 0.0114),
            "UN(3,3)": (5.9798, 1.6279, 3.67, 0.0001),
            "UN(4,1)": (2.5222, 1.0649, 2.37, 0.0179),
            "UN(4,2)": (3.0624, 1.0135, 3.02, 0.0025),
            "UN(4,3)": (3.8235, 1.2508, 3.06, 0.0022),
            "UN(4,4)": (4.6180, 1.2573, 3.67, 0.0001),
        },
        "criteria": (419.5, 447.5, 452.0, 465.6),
        "null": (9, 58.76),
        "beta": [(15.8423, 0.9356), (1.5831, 1.4658), (0.8268, 0.07911), (-0.3504, 0.1239)],
        "F": [1.17, 110.54, 7.99],
    },
    "cs(age | Subject)": {
        "estimate": {
            "CS": (3.0306, 0.9552, 3.17, 0.0015),
            "Variance": (1.8746, 0.2946, 6.36, 0.0),
        },
        "criteria": (428.6, 440.6, 441.5, 448.4),
        "null": (1, 49.60),
        "beta": [(16.3406, 0.9631), (1.0321, 1.5089), (0.7844, 0.07654), (-0.3048, 0.1199)],
        "F": [0.47, 111.10, 6.46],
    },
    "cs(age | Sex / Subject)": {
        "estimate": {
            "Female: Variance": (0.5900, 0.1453, 4.06, 0.0),
            "Female: CS": (3.8804, 1.7179, 2.26, 0.0239),
            "Male: Variance": (2.7577, 0.5629, 4.90, 0.0),
            "Male: CS": (2.4463, 1.1175, 2.19, 0.0286),
        },
        "criteria": (408.8, 424.8, 426.3, 435.2),
        "null": (3, 69.43),
        "beta": [(16.3406, 1.1130), (1.0321, 1.3890), (0.7844, 0.09283), (-0.3048, 0.1063)],
        "F": [0.55, 141.37, 8.22],
    },
}


@pytest.mark.parametrize("residual", GROWTH)
def test_growth_curves(residual):
    data, expected = data_of("orthodont_slope_reml"), GROWTH[residual]
    fit = mlm.lmm("distance ~ Sex * age", data, residual=residual, method="ML")
    table = fit.covtest().table
    for name, (estimate, se, z, p) in expected["estimate"].items():
        printed(table.loc[name, ["estimate", "se"]], [estimate, se], 4)
        printed(table.loc[name, "z"], z, 2)
        printed(table.loc[name, "p_value"], p, 4)
    criteria = [fit.deviance, *fit.information_criteria(convention="sas")]
    printed(criteria, expected["criteria"], 1)
    null = mlm.lmm("distance ~ Sex * age", data, method="ML")
    test = mlm.compare(null, fit).iloc[-1]
    assert test["Df"] == expected["null"][0]
    printed(test["Chisq"], expected["null"][1], 2)
    beta = np.array(expected["beta"])
    printed(fit.params, beta[:, 0], 4)
    printed(fit.bse, beta[:, 1], 4)
    printed(fit.anova(3)["F value"], expected["F"], 2)


def test_influence_with_a_variance_for_each_group():
    """PROC MIXED iterates each deletion; for one variance a scoring step arrives at once."""
    pairs = [(group, y) for group, values in ABSORBED.items() for y in values]
    data = pd.DataFrame(pairs, columns=["FatType", "Absorbed"])
    data["row"] = np.arange(len(data))
    fit = mlm.lmm("Absorbed ~ FatType", data, residual="diag(FatType | row)")
    printed(fit.covariance_parameters, [178.0, 60.4, 97.6, 67.6], 4)
    steps = fit.influence().one_step("observations")
    values = np.array(ABSORBED["1"], dtype=float)
    for k in range(6):
        rest = np.delete(values, k)
        assert steps.parameters.iloc[k, 0] == pytest.approx(rest.var(ddof=1))
        assert steps.statistics["press"].iloc[k] == pytest.approx(values[k] - rest.mean())
        change = steps.changes["(Intercept)"].iloc[k]
        assert change == pytest.approx(values.mean() - rest.mean())
    assert np.allclose(steps.parameters.iloc[:6, 1:], fit.covariance_parameters.iloc[1:])
