"""Variances from mean squares (METHOD=TYPE1, TYPE2, TYPE3 of PROC MIXED) and MIVQUE0.

Right values: the listing of PROC VARCOMP's example of four methods (data of Hemmerle and Hartley
1973), a listing of PROC MIXED METHOD=TYPE3 for the chocolate cakes of Cochran and Cox (the data of
R's lme4, `cake`), R's anova(lm()) for sums of squares, quadratic forms with the matrices written
out, and REML where designs are balanced.
"""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from tests.reference.cakes import cakes


@pytest.fixture(scope="module")
def cells():
    """Hemmerle and Hartley's 16 numbers in 3 times 2 cells."""
    sizes = {"11": 3, "12": 2, "21": 3, "22": 3, "31": 2, "32": 3}
    y = [237, 254, 246, 178, 179, 208, 178, 187, 146, 145, 141, 186, 183, 142, 125, 136]
    cell = np.repeat(list(sizes), list(sizes.values()))
    return pd.DataFrame({"a": [c[0] for c in cell], "b": [c[1] for c in cell], "y": y})


def _variances(fit):
    return [m.iloc[0, 0] for m in fit.varcorr.values()] + [fit.scale]


def test_varcomp_type_1(cells):
    fit = mlm.lmm("y ~ a + (1 | b) + (1 | a:b)", cells, method="type1")
    assert fit.method == "type1"
    assert _variances(fit) == pytest.approx([1448.4, 27.42659, 78.63333], rel=2e-5)
    table = fit.mean_squares.frame
    assert table["df"].tolist() == [2, 1, 2, 10]
    assert table["Mean Sq"].tolist() == pytest.approx(
        [5868.218750, 11448, 149.520513, 78.633333], rel=2e-5
    )
    assert table["Expected mean square"].tolist() == [
        "Var(Residual) + 2.725 Var(a:b) + 0.1 Var(b) + Q(a)",
        "Var(Residual) + 2.6308 Var(a:b) + 7.8 Var(b)",
        "Var(Residual) + 2.5846 Var(a:b)",
        "Var(Residual)",
    ]


def test_varcomp_mivque0(cells):
    """The quadratic forms written out; V is no covariance matrix at the estimates."""
    X, M = pd.get_dummies(cells["a"]).to_numpy(float), np.eye(16)
    M = M - X @ np.linalg.solve(X.T @ X, X.T)
    y = cells["y"].to_numpy(float)
    forms = [np.eye(16)]
    for column in (cells["a"] + cells["b"], cells["b"]):
        Z = pd.get_dummies(column).to_numpy(float)
        forms.insert(0, Z @ Z.T)
    S = [[np.trace(M @ V @ M @ W) for W in forms] for V in forms]
    expected = np.linalg.solve(S, [y @ M @ V @ M @ y for V in forms])
    with pytest.raises(mlm.ModelError, match="V is no covariance matrix") as error:
        mlm.lmm("y ~ a + (1 | b) + (1 | a:b)", cells, method="mivque0")
    for value in expected:
        assert f"{value:.6g}" in str(error.value)


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_sums_of_squares_are_those_of_the_model_with_fixed_effects(cells, kind):
    """Of R's anova(lm(y ~ a * b)), and car's Anova(type = 2 and 3) with contr.sum."""
    fit = mlm.lmm("y ~ a + (1 | b) + (1 | a:b)", cells, method=f"type{kind}")
    fixed = mlm.lmm("y ~ a * b", cells)
    tests = fixed.anova(type=kind).frame
    table = fit.mean_squares.frame
    for name in ("a", "b", "a:b"):
        by_tests = tests.loc[name, "F value"] * tests.loc[name, "NumDF"] * fixed.scale
        assert table.loc[name, "Sum Sq"] == pytest.approx(by_tests, rel=1e-9)


def test_expected_mean_squares_by_simulated_expectation(cells):
    """E y'A y for y = Z_r column by column: A is told from its values at all pairs of rows."""
    kind, formula = "type3", "y ~ a + (1 | b) + (1 | a:b)"
    table = mlm.lmm(formula, cells, method=kind).mean_squares.frame
    rng = np.random.default_rng(1)
    Z = {"b": pd.get_dummies(cells["b"]), "a:b": pd.get_dummies(cells["a"] + cells["b"])}
    for name, z in Z.items():
        total = 0.0
        # Sum over the columns of an orthogonal frame: exact, whatever the frame.
        frame = np.linalg.qr(rng.normal(size=(z.shape[1], z.shape[1])))[0]
        for column in (z.to_numpy(float) @ frame).T:
            rows = cells.assign(y=column + 1e3 * (cells["y"] - cells["y"]))
            total += _sum_of_squares(rows, "b", formula)
        coefficient = total / table.loc["b", "df"]
        text = table.loc["b", "Expected mean square"]
        assert f"{coefficient:.5g} Var({name})" in text


def _sum_of_squares(data, effect, formula):
    from mlmfast.moments.effects import effects_of
    from mlmfast.moments.quadratic_forms import square_of

    model = mlm.LMM(formula, data)
    factors = [model.design.factors[term.factor] for term in model.design.random]
    effects = effects_of(model._frame, factors)
    position = effects.labels.index(effect)
    return square_of(effects, position, 3, data["y"].to_numpy(float)).value


def test_listing_of_proc_mixed_type_3():
    """Chocolate cakes: METHOD=TYPE3 with DDFM=SATTERTHWAITE, as PROC MIXED printed it."""
    data = cakes()
    fit = mlm.lmm("angle ~ recipe * temp + (1 | recipe:replicate)", data, method="type3")
    table = fit.mean_squares.frame
    rows = {
        "recipe": (2, 135.088889, 67.544444, 42, 0.25, 0.7809),
        "temp": (5, 2100.300000, 420.060000, 210, 20.52, 0.0),
        "recipe:temp": (10, 205.977778, 20.597778, 210, 1.01, 0.4393),
        "recipe:replicate": (42, 11403, 271.493122, 210, 13.26, 0.0),
    }
    for name, (df, squares, mean, error, f, p) in rows.items():
        row = table.loc[name]
        assert row["df"] == df
        assert row["Sum Sq"] == pytest.approx(squares, rel=3e-5)
        assert row["Mean Sq"] == pytest.approx(mean, abs=1e-6)
        assert row["Error df"] == pytest.approx(error, rel=1e-9)
        assert row["F value"] == pytest.approx(f, abs=5e-3)
        assert row["Pr(>F)"] == pytest.approx(p, abs=5e-5)
    assert table.loc["Residual", ["df", "Mean Sq"]].tolist() == pytest.approx([210, 20.470899])
    assert table["Error term"].tolist()[:4] == [
        "MS(recipe:replicate)",
        "MS(Residual)",
        "MS(Residual)",
        "MS(Residual)",
    ]
    assert table["Expected mean square"].tolist() == [
        "Var(Residual) + 6 Var(recipe:replicate) + Q(recipe, recipe:temp)",
        "Var(Residual) + Q(temp, recipe:temp)",
        "Var(Residual) + Q(recipe:temp)",
        "Var(Residual) + 6 Var(recipe:replicate)",
        "Var(Residual)",
    ]


@pytest.mark.parametrize("method", ["type1", "type2", "type3", "mivque0"])
def test_balanced_designs_have_the_estimates_of_reml(method):
    """Estimates, standard errors and degrees of freedom, by other ways."""
    data = cakes()
    formula = "angle ~ recipe * temp + (1 | recipe:replicate)"
    fit, reml = mlm.lmm(formula, data, method=method), mlm.lmm(formula, data)
    assert _variances(fit) == pytest.approx(_variances(reml), rel=1e-8)
    assert fit.bse.tolist() == pytest.approx(reml.bse.tolist(), rel=1e-8)
    assert fit.df.tolist() == pytest.approx(reml.df.tolist(), rel=1e-7)
    errors = fit.covtest().frame["se"].tolist()
    assert errors == pytest.approx(reml.covtest().frame["se"].tolist(), rel=1e-7)
    assert fit.llf == pytest.approx(reml.llf, abs=1e-9)
    tests, others = fit.anova().frame, reml.anova().frame
    assert tests.to_numpy() == pytest.approx(others.to_numpy(), rel=1e-6)


@pytest.fixture(scope="module")
def negative():
    """Six pairs whose halves differ by more than the pairs: the variance of pairs is negative."""
    return pd.DataFrame(
        {"y": [1.0, 5.0, 2.0, 4.5, 3.0, 2.5, 4.0, 2.0, 1.0, 6.0, 5.0, 3.0], "g": np.arange(12) // 2}
    )


def test_a_negative_variance_stays(negative):
    """In fractions, from the means of pairs and the differences within."""
    y = [Fraction(value) for value in negative["y"]]
    means = [(a + b) / 2 for a, b in zip(y[::2], y[1::2], strict=True)]
    grand = sum(means) / 6
    between = 2 * sum((m - grand) ** 2 for m in means) / 5
    within = sum((a - b) ** 2 for a, b in zip(y[::2], y[1::2], strict=True)) / 2 / 6
    for method in ("type1", "type2", "type3", "mivque0"):
        fit = mlm.lmm("y ~ 1 + (1 | g)", negative, method=method)
        assert _variances(fit) == pytest.approx(
            [float((between - within) / 2), float(within)], rel=1e-12
        )
        assert fit.certificate.negative
        # Var of the grand mean is E MS between over the rows.
        assert fit.bse.iloc[0] == pytest.approx(float(between / 12) ** 0.5, rel=1e-12)
        assert fit.df.iloc[0] == pytest.approx(5.0, rel=1e-9)


def test_covariance_of_the_estimators_in_an_unbalanced_design(cells):
    """2 tr(A V A V) with the matrices of the quadratic forms, told by polarisation."""
    formula = "y ~ a + (1 | b) + (1 | a:b)"
    fit = mlm.lmm(formula, cells, method="type2")
    model = mlm.LMM(formula, cells)
    from mlmfast.moments.effects import effects_of
    from mlmfast.moments.mean_squares import estimate_by_type

    factors = [model.design.factors[term.factor] for term in model.design.random]
    effects = effects_of(model._frame, factors)

    def estimates(y):
        found = estimate_by_type(effects, y, 2)
        return np.append(found.variances, found.residual)

    eye, n = np.eye(16), 16
    forms = np.zeros((3, n, n))
    for i in range(n):
        for j in range(i + 1):
            both = (estimates(eye[i] + eye[j]) - estimates(eye[i] - eye[j])) / 4
            forms[:, i, j] = forms[:, j, i] = both
    V = fit.scale * np.eye(n)
    for name, codes in (("b", cells["b"]), ("a:b", cells["a"] + cells["b"])):
        Z = pd.get_dummies(codes).to_numpy(float)
        V = V + fit.varcorr[name].iloc[0, 0] * Z @ Z.T
    expected = [[2 * np.trace(A @ V @ B @ V) for A in forms] for B in forms]
    assert fit.cov_theta().to_numpy() == pytest.approx(np.array(expected), rel=1e-7)


def test_nesting_is_seen_in_the_data(cells):
    """Plots numbered through are nested in their treatment, whatever they are called."""
    data = pd.DataFrame(
        {
            "y": [3.0, 4.0, 2.5, 6.0, 7.5, 5.0, 4.0, 3.5, 8.0, 6.5, 7.0, 2.0],
            "t": ["u"] * 5 + ["v"] * 7,
            "plot": list("aabbccddeeff"),
        }
    )
    data.loc[4, "t"] = "v"
    data["t"] = np.where(data["plot"].isin(["a", "b", "d"]), "u", "v")
    by_name = mlm.lmm("y ~ t + (1 | t:plot)", data, method="type3")
    plain = mlm.lmm("y ~ t + (1 | plot)", data, method="type3")
    assert plain.mean_squares.frame["Sum Sq"].tolist() == pytest.approx(
        by_name.mean_squares.frame["Sum Sq"].tolist(), rel=1e-10
    )
    assert plain.mean_squares.frame.loc["t", "Error term"] == "MS(plot)"


def test_covariates_beside_random_effects(cells):
    """A covariate has one degree of freedom, its slope that of least squares with all fixed."""
    data = cells.assign(x=np.sin(np.arange(16.0)))
    fit = mlm.lmm("y ~ x + a + (1 | b)", data, method="type3")
    fixed = mlm.lmm("y ~ x + a + b", data)
    row = fit.mean_squares.frame.loc["x"]
    test = fixed.anova().frame.loc["x"]
    assert row["F value"] == pytest.approx(test["F value"], rel=1e-9)
    assert [row["Error df"], test["DenDF"]] == pytest.approx([11, 11], rel=1e-12)


def test_printed_and_kept(tmp_path):
    fit = mlm.lmm("angle ~ recipe + (1 | recipe:replicate)", cakes(), method="type3")
    text = str(fit.summary())
    assert "mean squares of type III (type3)" in text
    assert "estimated by moments" in text
    assert "MS(recipe:replicate)" in repr(fit.mean_squares)
    path = tmp_path / "fit.json"
    fit.to_json(path)
    loaded = mlm.load(path)
    assert loaded.method == "type3"
    assert loaded.df.equals(fit.df)
    assert loaded.covtest().frame.equals(fit.covtest().frame)
    with pytest.raises(mlm.ModelError, match="a loaded fit holds no rows"):
        _ = loaded.mean_squares


CALLS = {
    "profile()": lambda fit: fit.profile(),
    "bootstrap()": lambda fit: fit.bootstrap(5),
    "compare()": lambda fit: mlm.compare(fit, fit),
    "ranova()": lambda fit: fit.ranova(),
    "test_variance()": lambda fit: fit.test_variance("(Intercept)"),
    "caic()": lambda fit: fit.caic(),
    "one_step()": lambda fit: fit.influence().one_step(),
    "functions of the covariance parameters": lambda fit: fit.icc(),
    "permutation_test()": lambda fit: mlm.permutation_test(fit, "(Intercept)", n=9),
}


@pytest.mark.parametrize("what", CALLS)
def test_results_that_need_a_likelihood_are_refused(negative, what):
    fit = mlm.lmm("y ~ 1 + (1 | g)", negative, method="type3")
    with pytest.raises(mlm.ModelError, match=what.replace("(", r"\(").replace(")", r"\)")):
        CALLS[what](fit)


@pytest.mark.parametrize(
    ("formula", "extra", "message"),
    [
        ("y ~ x + (x | g)", {}, "variances of random intercepts"),
        ("y ~ x", {}, "estimates variances of random effects"),
        ("y ~ x + (1 | g)", {"weights": "w"}, "independent residuals of one variance"),
        ("y ~ x + (1 | g)", {"residual": "ar1(t | g)"}, "independent residuals of one variance"),
        ("y ~ x + (1 | g)", {"ddf": "kenward-roger"}, "REML"),
        ("y ~ x + (1 | g)", {"hold": {"sigma": 1.0}}, "does not iterate"),
        ("y ~ g + (1 | g)", {}, "fixed and a random effect"),
        ("y ~ g + (1 | h)", {}, "'h' has no degrees of freedom of its own"),
    ],
)
def test_refusals(negative, formula, extra, message):
    rows = {"x": np.sqrt(np.arange(12.0)), "w": 1.0 + np.arange(12), "t": np.arange(12) % 2}
    data = negative.assign(**rows, g=negative["g"].astype(str), h=np.arange(12) // 4)
    with pytest.raises(mlm.MlmError, match=message):
        mlm.lmm(formula, data, method="type3", **extra)


def test_one_response_at_a_time(negative):
    with pytest.raises(mlm.ModelError, match="one response at a time"):
        mlm.LMM("y ~ 1 + (1 | g)", negative).fit_many(negative[["y"]], method="type3")
    with pytest.raises(mlm.ModelError, match="belong to fits by method='type1'"):
        _ = mlm.lmm("y ~ 1 + (1 | g)", negative, bounded=False).mean_squares


def test_sas_methods():
    step = mlm.from_sas(
        "proc mixed method=type3; class recipe temp replicate; model angle = recipe|temp / "
        "ddfm=satterthwaite; random replicate(recipe);"
    )
    assert not step.unmapped
    assert "method='type3'" in step.code or 'method="type3"' in step.code
    found = step(cakes()).fit
    assert found.mean_squares.frame.loc["recipe", "F value"] == pytest.approx(0.25, abs=5e-3)
    other = mlm.from_sas("proc mixed method=mivque0; class g; model y = ; random g;")
    assert not other.unmapped


def test_all_columns_of_x_are_needed():
    data = mlm.load_sleepstudy()
    with pytest.raises(
        mlm.ModelError, match=r"method='type3' goes with all columns .* absorb=True out"
    ):
        mlm.lmm(
            "Reaction ~ f + (1 | Subject)",
            data.assign(f="d" + data["Days"].map(str)),
            method="type3",
            absorb=True,
        )
