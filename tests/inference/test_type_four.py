"""Type IV tests: contrasts of cell means in plain arithmetic, type III without empty cells."""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import ModelError

from ..fits import lmm
from ..marginal_models import alfalfa


def cells(left_out, n=4, seed=0):
    generator = np.random.default_rng(seed)
    rows = [(a, b) for a in "abc" for b in "uvw" for _ in range(n) if a + b not in left_out]
    data = pd.DataFrame(rows, columns=["A", "B"])
    data = data.drop(index=[1, 9])
    return data.assign(
        y=generator.normal(size=len(data)) + (data["A"] == "b"),
        x=generator.normal(size=len(data)),
        g=generator.integers(0, 6, len(data)).astype(str),
    )


def f_of(data, fit, contrasts):
    """Wald's F of contrasts of cell means with independent errors."""
    means = data.groupby(["A", "B"])["y"].agg(["mean", "size"])
    index = [a + b for a, b in means.index]
    L = np.array([[row.get(cell, 0.0) for cell in index] for row in contrasts])
    V = L @ np.diag(fit.scale / means["size"].to_numpy()) @ L.T
    estimate = L @ means["mean"].to_numpy()
    return estimate @ np.linalg.solve(V, estimate) / len(L)


def test_levels_are_compared_where_both_occur():
    data = cells({"aw", "cu"})
    fit = lmm("y ~ A * B", data, ddf="residual")
    found = fit.anova(type=4).frame
    # a and c meet at v; b and c at v and w.
    A = [{"av": 1, "cv": -1}, {"bv": 0.5, "bw": 0.5, "cv": -0.5, "cw": -0.5}]
    # u and w meet in b; v and w in b and c.
    B = [{"bu": 1, "bw": -1}, {"bv": 0.5, "cv": 0.5, "bw": -0.5, "cw": -0.5}]
    AB = [{"au": 1, "av": -1, "bu": -1, "bv": 1}, {"bv": 1, "bw": -1, "cv": -1, "cw": 1}]
    assert found["NumDF"].tolist() == [2, 2, 2]
    for term, contrasts in (("A", A), ("B", B), ("A:B", AB)):
        assert found.loc[term, "F value"] == pytest.approx(f_of(data, fit, contrasts), rel=1e-9)
    other = fit.anova(type="III").frame
    assert found.loc["A:B", "F value"] == pytest.approx(other.loc["A:B", "F value"])
    assert abs(found.loc["A", "F value"] - other.loc["A", "F value"]) > 0.05


def test_a_level_that_does_not_meet_the_last_is_compared_with_another():
    data = cells({"aw", "av", "cu"})
    fit = lmm("y ~ A * B", data, ddf="residual")
    found = fit.anova(type=4).frame
    A = [{"bv": 0.5, "bw": 0.5, "cv": -0.5, "cw": -0.5}, {"au": 1, "bu": -1}]
    assert found.loc["A", "F value"] == pytest.approx(f_of(data, fit, A), rel=1e-9)
    assert found.loc["A", "NumDF"] == 2


@pytest.mark.parametrize(
    "formula",
    ["y ~ A * B + x", "y ~ A * B * x", "y ~ A + B + x", "y ~ 0 + A + A:B", "y ~ A * poly(x, 2)"],
)
def test_without_empty_cells_it_is_type_three(formula):
    fit = lmm(formula, cells(set()), ddf="residual")
    four, three = fit.anova(type=4).frame, fit.anova(type=3).frame
    pd.testing.assert_frame_equal(four, three, rtol=1e-7, check_exact=False)


def test_mixed_models_and_contrasts():
    plain = lmm("Yield ~ Variety * Date + (1 | Block)", alfalfa("empty"))
    found = plain.anova(type="IV").frame
    coded = lmm(
        "Yield ~ Variety * Date + (1 | Block)",
        alfalfa("empty"),
        contrasts={"Variety": "contr.sum", "Date": "contr.helmert"},
    )
    pd.testing.assert_frame_equal(coded.anova(type=4).frame, found, rtol=1e-6)
    assert found["NumDF"].tolist() == [2, 3, 5]
    text = str(plain.anova(type=4))
    assert text.startswith("Type IV tests")
    with pytest.raises(ModelError, match="type IV is SAS's"):
        plain.anova(type=4, definition="car")
    with pytest.raises(ModelError, match="use 1, 2, 3 or 4"):
        mlm.lmm("y ~ A", cells(set())).anova(type="V")


def test_factors_of_many_levels_without_empty_cells():
    """Type III, which takes no pairs of levels one by one."""
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"f": np.repeat(np.arange(30), 6).astype(str), "b": ["u", "v"] * 90})
    data["y"] = rng.normal(size=180)
    fit = mlm.lmm("y ~ f * b", data)
    pd.testing.assert_frame_equal(fit.anova(type=4).frame, fit.anova(type=3).frame, rtol=1e-7)


def test_components_are_the_rows_of_hypotheses():
    data = cells(set())
    fit = lmm("y ~ A + B + x + (1 | g)", data, ddf="kenward-roger")
    table = fit.anova(type=3, definition="SAS")
    parts = table.components.set_index(["term", "row"])
    assert list(parts.index) == [("A", 1), ("A", 2), ("B", 1), ("B", 2), ("x", 1)]
    # LCOMPONENTS: each level against the last.
    against = lmm("y ~ A + B + x + (1 | g)", data, contrasts={"A": "contr.SAS", "B": "contr.SAS"},
                  ddf="kenward-roger")  # fmt: skip
    for term, names in (("A", ["Aa", "Ab"]), ("B", ["Bu", "Bv"]), ("x", ["x"])):
        own = parts.loc[term]
        np.testing.assert_allclose(own["estimate"], against.params[names], rtol=1e-6)
        np.testing.assert_allclose(own["se"], against.bse[names], rtol=1e-6)
        np.testing.assert_allclose(own["p_value"], against.pvalues[names], rtol=1e-5)
    assert parts.loc[("x", 1), "statistic"] ** 2 == pytest.approx(table.frame.loc["x", "F value"])
    counted = fit.anova(ddf="containment")
    own = counted.components
    assert set(own.loc[own["term"] == "A", "df"]) == {counted.frame.loc["A", "DenDF"]}


def test_components_are_in_the_units_of_covariates():
    """Slopes, their differences and a factor of two levels, as LCOMPONENTS has them."""
    data = cells(set())
    data["two"] = np.where(np.arange(len(data)) % 3 == 0, "u", "v")
    formula = "y ~ A * x + two + (1 | g)"
    fit = lmm(formula, data)
    slopes = fit.emtrends("A", "x")
    steps = slopes.contrast("trt.vs.ctrl", ref="c").frame
    # PROC MIXED's rows: the mean slope, each slope less the last, u - v.
    expected = {
        "x": ([slopes["x.trend"].mean()], None),
        "A:x": (steps["estimate"], steps["SE"]),
        "two": ([-fit.params["twov"]], [fit.bse["twov"]]),
    }
    for kind in (3, 4):
        table = fit.anova(type=kind, definition="SAS")
        parts = table.components.set_index("term")
        rows = pd.concat(table.hypotheses.values()).to_numpy()
        np.testing.assert_allclose(parts["estimate"], rows @ fit.params, rtol=1e-8)
        for term, (estimate, se) in expected.items():
            own = parts.loc[[term]]
            np.testing.assert_allclose(own["estimate"], estimate, rtol=1e-6)
            if se is not None:
                np.testing.assert_allclose(own["se"], se, rtol=1e-6)
    first = fit.anova(definition="lmerTest").components.set_index("term").loc["A:x"]
    own = fit.params[[name for name in fit.params.index if name.endswith(":x")]]
    np.testing.assert_allclose(first["estimate"], own, rtol=1e-6)
    # A hundredth of the covariate is a hundred times the slope.
    finer = lmm(formula, data.assign(x=data["x"] / 100))
    for definition in ("SAS", "lmerTest", "mmrm", "car"):
        a = fit.anova(type=3, definition=definition).components.set_index("term")
        b = finer.anova(type=3, definition=definition).components.set_index("term")
        for term in ("x", "A:x"):
            pair = 100 * a.loc[[term], "estimate"], b.loc[[term], "estimate"]
            np.testing.assert_allclose(pair[1], pair[0], rtol=1e-5)


@pytest.mark.parametrize("definition", ["SAS", "lmerTest", "mmrm", "car"])
@pytest.mark.parametrize("kind", [1, 2, 3])
def test_hypotheses_are_in_the_scale_of_components(definition, kind):
    rng = np.random.default_rng(8)
    data = pd.DataFrame({"A": rng.choice(list("abc"), 60), "g": np.arange(60) % 6})
    data["x"] = 1e3 * rng.normal(size=60)
    data["z"] = rng.normal(size=60)
    data["y"] = rng.normal(size=60) + data["g"]
    fit = mlm.lmm("y ~ A * x + poly(z, 2) + (1 | g)", data)
    table = fit.anova(type=kind, definition=definition)
    parts = table.components.set_index("term")
    for term, L in table.hypotheses.items():
        estimates = L.to_numpy() @ fit.params.fillna(0.0).to_numpy()
        np.testing.assert_allclose(parts.loc[[term], "estimate"], estimates, rtol=1e-9, atol=1e-12)
        tested = fit.contrast(L.to_numpy())
        found = tested.f.statistic if tested.f else tested.frame["statistic"].iloc[0] ** 2
        assert table.frame.loc[term, "F value"] == pytest.approx(found)


def test_components_on_the_command_line(tmp_path, capsys):
    from mlmfast.cli.commands import main

    path = tmp_path / "d.csv"
    cells(set()).to_csv(path, index=False)
    assert main(["anova", str(path), "y ~ A + x + (1 | g)", "--components"]) == 0
    text = capsys.readouterr().out
    assert "Type III tests of fixed effects (lmerTest), row by row" in text
    assert main(["anova", str(path), "y ~ A + x + (1 | g)", "--type", "4", "--csv", "-"]) == 0
    assert capsys.readouterr().out.startswith("term,num_df")


@pytest.mark.parametrize("definition", ["SAS", "lmerTest", "mmrm"])
@pytest.mark.parametrize("left_out", [set(), {"aw"}])
def test_the_same_hypothesis_has_the_same_degrees_of_freedom(definition, left_out):
    """Satterthwaite's depend on the rows too: those of type III where the hypothesis is its."""
    fit = lmm("y ~ x + A * B + (1 | g)", cells(left_out))
    three, four = (fit.anova(type=t, definition=definition) for t in (3, 4))
    same = np.isclose(three.frame["F value"], four.frame["F value"], rtol=1e-9)
    assert same[[0, 3]].all()
    assert same[1:3].all() == (not left_out)
    np.testing.assert_allclose(four.frame["DenDF"][same], three.frame["DenDF"][same], rtol=1e-10)
    for term in four.frame.index[same]:
        np.testing.assert_allclose(four.hypotheses[term], three.hypotheses[term], atol=1e-9)
