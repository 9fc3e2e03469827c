"""Random effects and residual covariances that no data tell have no number, what they sum to has.

Right values are those of models of the same V in parameters that the data tell.
"""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm

Y = [5.1, 4.9, 6.2, 6.6, 3.9, 4.4, 5.0, 5.8, 7.1, 7.3, 6.0, 6.5]
Y += [4.1, 3.2, 5.5, 5.9, 6.8, 7.7, 6.1, 5.2, 2.9, 3.8, 4.6, 4.0]
DATA = pd.DataFrame(
    {
        "y": Y,
        "g": np.repeat(range(6), 4),
        "c": np.tile(list("ppqq"), 6),
        "arm3": np.repeat(list("abcabc"), 4),
        # Subjects of two rows: of even g at v1, v2, of odd g at v3, v4.
        "id": np.repeat(range(12), 2),
        "v": np.tile(["v1", "v2"] * 2 + ["v3", "v4"] * 2, 3),
    }
)
NEW = pd.DataFrame({"g": [0, 0, 5, 99], "c": ["p", "q", "q", "p"]})


def quiet(formula, data=DATA, **arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mlm.SingularFitWarning)
        return mlm.lmm(formula, data, **arguments)


def quiet_row(batch, k):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mlm.SingularFitWarning)
        return batch[k]


def saved(fit):
    """The fit itself, loaded from JSON, and unpickled."""
    return fit, mlm.load(fit.to_json()), pickle.loads(pickle.dumps(fit))


# -- overlapping terms ----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("terms", ["(1 | g) + (0 + c | g)", "(1 | g:c) + (0 + c | g)"])
def test_shares_of_a_sum_have_no_number_and_the_sum_has(terms, method):
    fit = quiet(f"y ~ c + {terms}", method=method)
    right = mlm.lmm("y ~ c + (0 + c | g)", DATA, method=method)
    for own in saved(fit):
        assert all(frame.isna().all(axis=None) for frame in own.ranef.values())
        assert all(own.ranef_cov[k][label].isna().all(axis=None)
                   for k in own.ranef_cov for label in own.ranef_cov[k])  # fmt: skip
        found = own.predict(NEW, new_levels="population")
        np.testing.assert_allclose(found, right.predict(NEW, new_levels="population"), rtol=1e-5)
    np.testing.assert_allclose(fit.fittedvalues, right.fittedvalues, rtol=1e-5)
    whole = {"g": {"0": {"cp": 1}}}
    theirs = right.estimate("(Intercept)", random=whole)
    whole = {"g": {"0": {"cp": 1}}, "g:c": {"0:p": 1}}
    if "(1 | g)" in terms:
        whole = {"g": {"0": {"cp": 1, "(Intercept)": 1}}}
    ours = fit.estimate("(Intercept)", random=whole)
    assert ours.estimate == pytest.approx(theirs.estimate, rel=1e-5)
    assert ours.se == pytest.approx(theirs.se, rel=1e-4)
    with pytest.raises(mlm.ModelError, match="do not determine this function of the random"):
        fit.estimate("(Intercept)", random={"g": {"0": {"cp": 1}}})


def test_a_common_covariance_takes_an_intercept_and_leaves_differences():
    """Of (1 | g) + cs(0 + c | g) the difference of two levels is told, and has its variance."""
    fit = quiet("y ~ c + (1 | g) + cs(0 + c | g)")
    right = mlm.lmm("y ~ c + (1 | g) + (1 | g:c)", DATA)
    assert fit.llf == pytest.approx(right.llf, abs=1e-7)
    ours = fit.estimate("cq", random={"g": {"1": {"cp": -1, "cq": 1}}})
    theirs = right.estimate("cq", random={"g:c": {"1:p": -1, "1:q": 1}})
    assert ours.estimate == pytest.approx(theirs.estimate, rel=1e-6)
    assert ours.se == pytest.approx(theirs.se, rel=1e-4)


def test_effects_beside_those_that_overlap_keep_their_numbers():
    data = DATA.assign(x=np.tile([0.3, -1.0, 0.5, 1.2, -0.4], 5)[:24], h=np.arange(24) * 7 % 5)
    fit = quiet("y ~ c + (1 | g) + (0 + c | g) + (0 + x | h)", data)
    right = quiet("y ~ c + (0 + c | g) + (0 + x | h)", data)
    assert fit.ranef["g"].isna().all(axis=None)
    np.testing.assert_allclose(fit.ranef["h"], right.ranef["h"], rtol=1e-4, atol=1e-8)


def test_levels_that_never_meet_answer_alike_once_saved():
    fit = quiet("y ~ arm3 + (0 + arm3 | g)")
    for own in saved(fit):
        pd.testing.assert_frame_equal(own.ranef["g"], fit.ranef["g"])
        assert (
            own.ranef["g"].isna().to_numpy().tolist()
            == (~np.tile(np.eye(3, dtype=bool), (2, 1))).tolist()
        )
        with pytest.warns(mlm.NonEstimableWarning, match="row 1"):
            found = own.predict(pd.DataFrame({"g": [0, 0], "arm3": ["a", "b"]}))
        assert np.isnan(found).tolist() == [False, True]
        # A level that the fit did not see has no effect to hang on anything.
        new = pd.DataFrame({"g": [99, 99], "arm3": ["a", "b"]})
        assert not np.isnan(own.predict(new, new_levels="population")).any()


def test_batches_have_no_number_where_single_fits_have_none():
    batch = mlm.LMM("y ~ arm3 + (0 + arm3 | g)", DATA).fit_many(np.array([Y, Y[::-1]]).T)
    for k in range(2):
        single = quiet_row(batch, k)
        np.testing.assert_array_equal(np.isnan(batch.varcorr["g"][k]), ~np.eye(3, dtype=bool))
        np.testing.assert_allclose(batch.varcorr["g"][k], single.varcorr["g"])


# -- visits that never meet ----------------------------------------------------------------------

#: Entries below the diagonal that the structure and the pairs (v1, v2), (v3, v4) leave untold.
UNTOLD = {
    "us": {(2, 0), (2, 1), (3, 0), (3, 1)},
    "un": {(2, 0), (2, 1), (3, 0), (3, 1)},
    "toep": {(2, 0), (3, 0), (3, 1)},
    "toeph": {(2, 0), (3, 0), (3, 1)},
    "adh": {(2, 0), (2, 1), (3, 0), (3, 1)},
    "fa": {(2, 0), (2, 1), (3, 0), (3, 1)},
    "csh": set(),
    "ar1h": set(),
}


@pytest.mark.parametrize("structure", UNTOLD)
def test_covariances_of_visits_that_never_meet_have_no_number(structure):
    fit = quiet("y ~ c", residual=f"{structure}(v | id)")
    i, j = np.tril_indices(4, -1)
    for own in saved(fit):
        matrix = own.residual_cov.to_numpy()
        found = {
            (a, b) for a, b in zip(i.tolist(), j.tolist(), strict=True) if np.isnan(matrix[a, b])
        }
        assert found == UNTOLD[structure]
        np.testing.assert_array_equal(np.isnan(own.residual_corr), np.isnan(matrix))
        np.testing.assert_allclose(matrix, matrix.T)
        pairs = own.varcorr.tidy().set_index(["effect1", "effect2"])["vcov"]
        assert pairs.isna().sum() == len(UNTOLD[structure])
        names = list(fit._record.undetermined.unseen) if fit._record.undetermined else []
        assert own.residual_parameters.index[own.residual_parameters.isna()].tolist() == names
        tidy = own.tidy("random").set_index("term")["estimate"]
        assert tidy.index[tidy.isna()].tolist() == names
        assert "nan" not in str(own).lower()
    np.testing.assert_allclose(fit.residual_cov, saved(fit)[1].residual_cov)


def test_what_visits_tell_is_that_of_two_separate_structures():
    fit = quiet("y ~ v", residual="us(v | id)")
    for pair in (["v1", "v2"], ["v3", "v4"]):
        part = DATA[DATA["v"].isin(pair)]
        right = mlm.lmm("y ~ v", part, residual="us(v | id)")
        np.testing.assert_allclose(fit.residual_cov.loc[pair, pair], right.residual_cov, rtol=1e-5)


def test_arms_have_untold_covariances_of_their_own():
    """Subjects of one arm meet at v2 and v3 too, so that arm lacks fewer lags."""
    data = DATA.assign(half=np.where(DATA["id"] < 6, "A", "B"))
    data.loc[data["id"] == 0, "v"] = ["v2", "v4"]
    fit = quiet("y ~ 1", data, residual="toep(v | half / id)")
    for own in saved(fit):
        missing = {arm: frame.isna().to_numpy() for arm, frame in own.residual_cov.items()}
        assert np.argwhere(np.tril(missing["A"])).tolist() == [[3, 0]]
        assert np.argwhere(np.tril(missing["B"])).tolist() == [[2, 0], [3, 0], [3, 1]]
        named = own.residual_parameters.index[own.residual_parameters.isna()].tolist()
        assert named == ["A: TOEP(4)", "B: TOEP(3)", "B: TOEP(4)"]


@pytest.mark.parametrize("structure", ["us", "toep"])
def test_predictions_given_visits_that_were_never_met_with_are_nan_by_name(structure):
    fit = quiet("y ~ v", residual=f"{structure}(v | id)")
    new = pd.DataFrame({"id": [0, 0, 77, 77, 77], "v": ["v1", "v3", "v1", "v2", "v4"]})
    new["y"] = [np.nan, np.nan, 5.0, np.nan, np.nan]
    with pytest.warns(mlm.NonEstimableWarning, match="row 1, row 4"):
        found = fit.predict(new, conditional=True)
    assert np.isnan(found).tolist() == [False, True, False, False, True]
    assert not np.isnan(fit.predict(new, conditional=True, nonestimable="value")).any()
    b, R = fit.params, fit.residual_cov
    right = (
        b["(Intercept)"]
        + b["vv2"]
        + R.loc["v2", "v1"] / R.loc["v1", "v1"] * (5.0 - b["(Intercept)"])
    )
    assert found[3] == pytest.approx(right)
    with pytest.raises(mlm.ModelError, match="do not determine all its covariances"):
        mlm.power(fit, "vv2", n=2)
