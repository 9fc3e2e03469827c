"""What a fit reports beside its estimates does not depend on units: what is held, errors, words."""

import warnings

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import MlmError

from .. import dense

STRUCTURES = [
    *("rr(0 + f | g, 1)", "rr(0 + f | g, 2)", "fa0(0 + f | g, 1)", "fa0(0 + f | g)"),
    *("fa(0 + f | g, 1)", "us(0 + f | g)", "(f | g)", "csh(0 + f | g)", "ar1(0 + f | g)"),
    *("ar1h(0 + f | g)", "adh(0 + f | g)", "toeph(0 + f | g)", "hf(0 + f | g)"),
    *("sp_exp(0 + factor(t) | g)", "(z | g)", "(z || g) + (1 | k)", "us(1 | g, by=h)"),
]


def small_frame(seed, n, n_groups):
    """Few rows at random; with two groups some level of f is seen in one of them only."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "g": rng.choice(list("abcdefgh")[:n_groups], n),
            "f": rng.choice(["lo", "mid", "hi"], n),
            "h": rng.choice(["p", "q"], n),
            "k": rng.choice(list("STUVW"), n),
            "z": rng.uniform(1, 5, n),
            "noise": rng.normal(size=n),
        }
    )
    own = dict(zip("abcdefgh", rng.normal(size=8), strict=True))
    shift = frame["f"].map({"hi": 0.0, "lo": 1.0, "mid": 2.0})
    frame["t"] = shift
    frame["y"] = 3.0 + shift + frame["g"].map(own) * (1.0 + 0.3 * shift) + frame["noise"]
    return frame


def fit_quietly(formula, frame, **arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mlm.lmm(formula, frame, **arguments)


def told(fit):
    """All that has no unit: words, what is held, tests, degrees of freedom, shares."""
    table = fit.covtest()
    numbers = [
        *(fit.df.to_numpy(), fit.pvalues.to_numpy(), table["z"].to_numpy()),
        fit.anova(type=3).to_numpy(dtype=float).ravel(),
        fit.icc().to_numpy().ravel(),
    ]
    try:
        numbers.append(fit.anova(type=3, ddf="kenward-roger").to_numpy(dtype=float).ravel())
    except MlmError as error:
        numbers.append(np.full(1, float(len(str(error)))))
    words = [(notice.code, notice.message) for notice in fit.warnings]
    state = (words, fit.singular, fit.converged, list(table.index))
    return state, np.concatenate(numbers)


@pytest.mark.parametrize("random", STRUCTURES)
@pytest.mark.parametrize(("seed", "n", "n_groups"), [(4, 14, 2), (9, 40, 6)])
def test_the_unit_of_the_response_changes_nothing_that_has_none(random, seed, n, n_groups):
    frame = small_frame(seed, n, n_groups)
    formula = f"y ~ f + {random}"
    fit = fit_quietly(formula, frame)
    state, numbers = told(fit)
    for c in (1e-6, 7.0, 1e6):
        other = fit_quietly(formula, frame.assign(y=c * frame["y"]))
        other_state, other_numbers = told(other)
        assert other_state == state
        np.testing.assert_allclose(other_numbers, numbers, rtol=2e-4, atol=1e-6)
        np.testing.assert_allclose(other.params / c, fit.params, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(other.bse / c, fit.bse, rtol=1e-5)


@pytest.mark.parametrize("random", ["(z | g)", "(z || g)", "(z | g) + (1 | k)"])
@pytest.mark.parametrize("c", [1e-6, 1e3, 1e6])
def test_the_unit_of_a_slope_changes_nothing_that_has_none(random, c):
    frame = small_frame(9, 40, 6)
    formula = f"y ~ f + z + {random}"
    state, numbers = told(fit_quietly(formula, frame))
    other_state, other_numbers = told(fit_quietly(formula, frame.assign(z=c * frame["z"])))
    assert other_state == state
    np.testing.assert_allclose(other_numbers, numbers, rtol=2e-4, atol=1e-6)


def second_differences(function, x, step):
    """The Hessian of a scalar function by central differences."""
    n = len(x)
    out = np.empty((n, n))
    for i, j in np.ndindex(n, n):
        ends = [(a, b) for a in (1, -1) for b in (1, -1)]
        values = [a * b * function(x + a * step[i] + b * step[j]) for a, b in ends]
        out[i, j] = sum(values) / (4 * step[i].sum() * step[j].sum())
    return out


@pytest.mark.parametrize("c", [1.0, 1e6])
@pytest.mark.parametrize("keyword", ["ar1", "csh", "adh"])
def test_a_correlation_at_its_end_has_no_standard_error(keyword, c):
    """Errors of the variances are those of the likelihood with it held there, by differences."""
    frame = small_frame(2, 40, 6)
    fit = fit_quietly(f"y ~ f + {keyword}(0 + f | g)", frame.assign(y=c * frame["y"]))
    table = fit.covtest()
    at_end = table.index.str.contains("AR|CSH|Rho")
    np.testing.assert_allclose(table["estimate"][at_end], 1.0, rtol=1e-12)
    assert table.loc[at_end, ["se", "z", "p_value", "lower", "upper"]].isna().to_numpy().all()

    y, levels = frame["y"].to_numpy(), np.unique(frame["f"], return_inverse=True)[1]
    X = np.column_stack([np.ones(len(y)), levels == 1, levels == 2]).astype(float)
    same = frame["g"].to_numpy()[:, None] == frame["g"].to_numpy()

    def deviance(values):
        sd = np.sqrt(np.broadcast_to(values[:-1], 3))[levels]
        V = np.where(same, np.outer(sd, sd), 0.0) + values[-1] * np.eye(len(y))
        return -2.0 * dense.log_likelihood(y, X, V, "REML")

    estimates = table["estimate"][~at_end].to_numpy() / c**2
    hessian = second_differences(deviance, estimates, np.diag(1e-3 * estimates))
    expected = np.sqrt(np.diag(np.linalg.inv(hessian / 2.0)))
    np.testing.assert_allclose(table["se"][~at_end] / c**2, expected, rtol=1e-4)


@pytest.mark.parametrize("keyword", ["ar1", "ad", "toep", "csh", "sp_exp"])
def test_correlations_beside_no_variance_are_no_accident_of_rounding(keyword):
    """They are 0, and a range is not below 0: which end an iteration came by says nothing."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"g": rng.integers(0, 10, 90), "t": np.tile([0.0, 1.0, 2.0], 30)})
    frame["f"], frame["y"] = frame["t"].map({0.0: "a", 1.0: "b", 2.0: "c"}), rng.normal(size=90)
    frame["y"] -= frame.groupby("g")["y"].transform("mean")
    left = "0 + factor(t)" if keyword == "sp_exp" else "0 + f"
    for c in (1.0, 1e-6, 1e6):
        fit = fit_quietly(f"y ~ f + {keyword}({left} | g)", frame.assign(y=c * frame["y"]))
        values = fit.covariance_parameters.to_numpy()[:-1]
        assert (values == 0.0).all() if keyword != "sp_exp" else (values >= 0.0).all()
