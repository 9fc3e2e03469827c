"""X, Z, G, R, V of a cluster: labels, names of terms, and what is refused."""

import numpy as np
import pytest

import mlmfast as mlm
from mlmfast.errors import DataError, ModelError

from ..fits import lmm
from ..problems import formula_of, nested_frame
from ..residual_models import trial


@pytest.fixture
def frame():
    return nested_frame().copy()


@pytest.fixture
def nested(frame):
    return lmm(formula_of("(x | a/b)"), frame)


def test_columns_of_z_are_named_by_term_and_level(nested, frame):
    Z = nested.Z("a3")
    inner = [label for label in nested.ranef["a:b"].index if label.startswith("a3:")]
    expected = [f"{name} | {level}" for level in ["a3", *inner] for name in ("(Intercept)", "x")]
    assert list(Z.columns) == expected
    assert list(Z.index) == list(frame.index[frame["a"] == "a3"])
    x = frame.loc[Z.index, "x"]
    np.testing.assert_array_equal(Z["x | a3"], x)
    own = frame.loc[Z.index, "b"] == inner[0].split(":")[1]
    np.testing.assert_array_equal(Z[f"x | {inner[0]}"], x.where(own, 0.0))


def test_v_is_zgz_plus_r_over_the_levels_of_all_factors(nested):
    Z = nested.Z("a3")
    effect = [tuple(name.split(" | ")) for name in Z.columns]
    G = np.array(
        [
            [
                nested.varcorr["a:b" if ":" in level else "a"].loc[row, column]
                if level == other
                else 0.0
                for column, other in effect
            ]
            for row, level in effect
        ]
    )
    expected = Z.to_numpy() @ G @ Z.to_numpy().T + nested.R("a3").to_numpy()
    np.testing.assert_allclose(nested.V("a3"), expected, rtol=1e-12)


def test_matrices_of_all_rows_are_made_of_those_of_the_clusters(nested, frame):
    V = nested.V()
    assert V.shape == (240, 240)
    for label in ("a0", "a5"):
        rows = frame["a"] == label
        np.testing.assert_array_equal(V.loc[rows, rows], nested.V(label))
        assert not V.loc[rows, ~rows].to_numpy().any()
    assert nested.X().shape == (240, 3)
    assert nested.Z().shape == (240, 2 * (10 + len(nested.ranef["a:b"])))


def test_a_linear_model_has_one_cluster(frame):
    fit = lmm("y ~ x", frame, weights="w")
    np.testing.assert_allclose(np.diag(fit.V()), fit.scale / frame["w"], rtol=1e-15)
    assert fit.Z().shape == (240, 0)
    assert len(fit.marginal()) == 240
    with pytest.raises(ModelError, match="leave the cluster out"):
        fit.V("a1")


@pytest.mark.parametrize("cluster", [308, 308.0, "308", np.int64(308)])
def test_a_cluster_is_named_by_any_form_of_its_label(sleepstudy, cluster):
    fit = lmm("Reaction ~ Days + (1 | Subject)", sleepstudy)
    assert fit.V(cluster).equals(fit.V("308"))


def test_unknown_clusters_and_terms_are_named(nested):
    with pytest.raises(DataError, match=r"'a99'.*closest are 'a9'"):
        nested.V("a99")
    with pytest.raises(DataError, match="outermost grouping factor 'a'"):
        nested.X("a1:b1")
    with pytest.raises(ModelError, match=r"'q'.*\(x \| a\), \(x \| a:b\), a, a:b"):
        nested.G("q")


def test_a_covariance_matrix_too_large_to_show():
    rng = np.random.default_rng(1)
    data = {"y": rng.normal(size=6000), "g": np.arange(6000) % 100}
    fit = lmm("y ~ 1 + (1 | g)", data)
    with pytest.raises(ModelError, match=r"6,000 rows.*name a cluster"):
        fit.V()
    assert fit.V(3).shape == (60, 60)
    assert fit.X().shape == (6000, 1)


def test_g_by_term_and_by_group(frame):
    fit = lmm(formula_of("(x || a)"), frame)
    both = fit.varcorr["a"]
    assert fit.G("a").equals(both)
    assert fit.G("(x || a)").equals(both)
    assert fit.G("(1|a)").equals(both.iloc[:1, :1])
    assert fit.G(" ( 0 + x | a ) ").equals(both.iloc[1:, 1:])
    assert lmm(formula_of("(x | a)"), frame).G("us(x | a)").shape == (2, 2)


def test_interactions_are_also_found_by_lme4s_names(nested):
    assert nested.G("b:a").equals(nested.G("a:b"))
    assert nested.varcorr["b:a"].equals(nested.varcorr["a:b"])
    # Labels are lme4's then, in its order of the factors.
    np.testing.assert_array_equal(nested.ranef["b:a"], nested.ranef["a:b"])
    assert nested.ranef["b:a"].index[0] == ":".join(
        reversed(nested.ranef["a:b"].index[0].split(":"))
    )
    ours = nested.ranef_cov["a:b"]
    for label, theirs in nested.ranef_cov["b:a"].items():
        assert theirs.equals(ours[":".join(reversed(label.split(":")))])
    assert "b:a" in nested.varcorr
    assert "c:a" not in nested.varcorr
    assert list(nested.varcorr) == ["a", "a:b"]
    for by_group in (nested.varcorr, nested.ranef):
        with pytest.raises(KeyError, match="grouping factors: a, a:b"):
            by_group["c"]


def test_rows_with_a_repeated_index(frame):
    frame.index = np.zeros(len(frame), dtype=int)
    fit = lmm(formula_of("(1 | a)"), frame)
    assert len(set(fit.marginal("a1").names)) == (frame["a"] == "a1").sum()


def test_matrices_of_a_model_from_arrays(frame):
    X = np.column_stack([np.ones(len(frame)), frame["x"]])
    fit = mlm.LMM.from_arrays(frame["y"], X, groups=frame["a"], Z=X).fit()
    rows = np.flatnonzero(frame["a"] == "a1")
    assert list(fit.V("a1").index) == list(rows)
    np.testing.assert_array_equal(fit.Z("a1"), X[rows])
    assert fit.G("((Intercept) + z2 | a)").equals(fit.G("a"))


def test_a_subject_of_the_residual_covariance_is_a_cluster_too():
    data = trial(seed=3)
    fit = mlm.lmm("y ~ x + (1 | site)", data, residual="us(visit | subject)")
    rows = data[data["subject"] == "s03"]
    R = fit.R("s03")
    assert list(R.index) == list(rows.index)
    np.testing.assert_allclose(R, fit.residual_cov.loc[rows["visit"], rows["visit"]], rtol=1e-14)
    np.testing.assert_allclose(fit.V("s03"), R + fit.G("site").iloc[0, 0], rtol=1e-12)
    whole = fit.R(rows["site"].iloc[0])
    np.testing.assert_array_equal(whole.loc[R.index, R.index], R)
    with pytest.raises(DataError, match="or of the subjects 'subject'"):
        fit.R("nobody")


@pytest.mark.parametrize("subject", ["subject", "arm / subject"])
@pytest.mark.parametrize("keyword", ["us", "csh", "toep", "diag"])
def test_residual_correlations_are_those_of_the_covariances(keyword, subject):
    fit = mlm.lmm("y ~ x", trial(seed=3), residual=f"{keyword}(visit | {subject})")
    by_arm = subject != "subject"
    for arm in ("active", "placebo") if by_arm else (None,):
        R, C = fit.residual_cov, fit.residual_corr
        R, C = (R[arm], C[arm]) if by_arm else (R, C)
        sd = np.sqrt(np.diag(R))
        np.testing.assert_allclose(C * np.outer(sd, sd), R, rtol=1e-13)
        np.testing.assert_array_equal(np.diag(C), 1.0)


def test_independent_residuals_have_no_correlations():
    assert mlm.lmm("y ~ x + (1 | site)", trial(seed=3)).residual_corr is None
