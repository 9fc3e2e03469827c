"""A study's rows: what a fit says alone, whichever way it was reached."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import mlmfast as mlm

from .studies import METHODS, files, fixed_rows, small, trial

COLUMNS = ["replicate", "method", "estimand", "estimate", "std_error", "df", "p_value", "lower",
           "upper", "converged", "singular", "error", "key"]  # fmt: skip


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return small().run(tmp_path_factory.mktemp("study") / "s", progress=False)


def _check_against_single_fits(study, result, formula, **how):
    rows = result.replicates
    rows = rows[rows["method"] == "REML"]
    for row in rows.iloc[::17].to_dict("records"):
        fit = mlm.lmm(formula, study.data(row["key"]), **how)
        assert row["estimate"] == fit.params["t"]
        assert row["std_error"] == fit.bse["t"]
        assert row["df"] == fit.df["t"]
        assert row["p_value"] == fit.pvalues["t"]
        assert [row["lower"], row["upper"]] == fit.conf_int().loc["t"].tolist()
        assert row["converged"] == fit.converged
        assert row["singular"] == fit.singular


def test_columns_and_order(result):
    rows = result.replicates
    assert list(rows.columns) == ["n_groups", "sd", *COLUMNS]
    assert len(rows) == 4 * 25 * 2
    order = rows[["n_groups", "sd", "replicate"]].drop_duplicates().to_numpy().tolist()
    expected = [[n, sd, r] for n in (6, 10) for sd in (0, 1) for r in range(25)]
    assert order == expected
    assert rows["error"].isna().all()


@pytest.mark.filterwarnings("ignore::mlmfast.SingularFitWarning")
def test_rows_are_bits_of_single_fits(result):
    _check_against_single_fits(small(), result, "y ~ t + x + (1 | g)")


@pytest.mark.filterwarnings("ignore::mlmfast.SingularFitWarning")
@pytest.mark.parametrize("ddf", ["satterthwaite", "kenward-roger"])
def test_rows_of_one_design_are_bits_of_single_fits(tmp_path, ddf):
    methods = {"REML": mlm.Method("y ~ t + (1 | g)", ddf=ddf)}
    study = small(generate=fixed_rows, methods=methods, conditions={"n_groups": [6]})
    rows = study.run(tmp_path / "s", progress=False)
    _check_against_single_fits(study, rows, "y ~ t + (1 | g)", ddf=ddf)


@pytest.mark.filterwarnings("ignore::mlmfast.SingularFitWarning")
@pytest.mark.parametrize(
    "formula",
    [
        "y ~ t + scale(x) + (1 | g)",
        "y ~ t + log(x + 10) + (x | g)",
        "y ~ t + poly(x, 2) + (1 | g)",
        "y ~ t + (x || g)",
        "y ~ t + x + cs(0 + factor(t) | g)",
    ],
)
def test_formulas_that_go_by_all_rows_are_not_joined(tmp_path, formula):
    """Transformations by the data's own moments, and terms that arrays do not know."""
    estimands = {"x": 0.2} if "factor" in formula else {"t": 0.5}
    methods = {"REML": mlm.Method(formula)}
    study = small(
        methods=methods, conditions={"n_groups": [10]}, n_replicates=6, estimands=estimands
    )
    rows = study.run(tmp_path / "s", progress=False).replicates
    for row in rows.to_dict("records"):
        fit = mlm.lmm(formula, study.data(row["key"]))
        name = row["estimand"]
        assert row["estimate"] == fit.params[name]
        assert row["std_error"] == fit.bse[name] or np.isnan(row["std_error"])


def test_a_replicate_alone(result):
    rows = result.replicates
    own = rows[(rows["n_groups"] == 10) & (rows["sd"] == 0) & (rows["replicate"] == 13)]
    alone = small().rows({"n_groups": 10, "sd": 0.0}, 13)
    pd.testing.assert_frame_equal(alone, own.reset_index(drop=True), check_exact=True)
    pd.testing.assert_frame_equal(alone, small().rows(own["key"].iloc[0]), check_exact=True)


def test_conditions_go_by_what_they_hold(result):
    """Another order, and a smaller grid: the same draws."""
    other = small(conditions=[{"sd": 1.0, "n_groups": 10}, {"sd": 0, "n_groups": 6}])
    data = other.data({"n_groups": 10}, 4)
    pd.testing.assert_frame_equal(data, small().data({"n_groups": 10, "sd": 1}, 4))
    assert not data.equals(other.data({"n_groups": 10}, 5))
    with pytest.raises(mlm.DataError, match=r"2 of the conditions have .*; give sd too"):
        small().data({"n_groups": 10}, 4)
    with pytest.raises(mlm.DataError, match="did you mean 'n_groups'"):
        small().data({"n_group": 10}, 4)


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_chunks_change_no_bit(tmp_path, result, chunk):
    rows = small(chunk=chunk).run(tmp_path / "s", progress=False).replicates
    pd.testing.assert_frame_equal(rows, result.replicates, check_exact=True)


def test_performance_is_that_of_the_rows(result):
    table = result.performance(["bias", "cover", "power", "convergence"])
    assert list(table.columns) == [
        "n_groups",
        "sd",
        "method",
        "estimand",
        "measure",
        "value",
        "mcse",
    ]
    rows = result.replicates
    own = rows[(rows["n_groups"] == 6) & (rows["sd"] == 1) & (rows["method"] == "OLS")]
    found = table[(table["n_groups"] == 6) & (table["sd"] == 1) & (table["method"] == "OLS")]
    found = found.set_index("measure")["value"]
    assert found["bias"] == pytest.approx(own["estimate"].mean() - 0.5, rel=1e-12)
    assert found["coverage"] == ((own["lower"] <= 0.5) & (own["upper"] >= 0.5)).mean()
    assert found["power"] == (own["p_value"] <= 0.05).mean()
    assert found["convergence"] == 1.0
    with pytest.raises(mlm.DataError, match="did you mean 'coverage'"):
        result.performance("coverge")
    with pytest.raises(mlm.DataError, match="the methods are REML, OLS"):
        result.performance(reference="ML")


def test_more_replicates_for_a_smaller_error(result):
    needed = result.n_for(0.001, "bias")
    now = result.performance("bias")
    assert (needed["n_now"] == 25).all()
    expected = np.ceil(25 * (now["mcse"] / 0.001) ** 2)
    assert needed["n"].tolist() == expected.tolist()


def test_a_design_draws(tmp_path):
    design = mlm.design("y ~ t + (1 | g)", levels={"g": 8, "t": [0, 1], "row": 4},
                        between={"t": "g"}, params={"t": 0.5}, icc=0.2, sigma=1)  # fmt: skip
    methods = {
        "REML": mlm.Method("y ~ t + (1 | g)"),
        "CR2": mlm.Method("y ~ t + (1 | g)", robust="CR2"),
    }
    study = mlm.Study({"n_groups": [8, 12], "t": [0.0, 0.5]}, design, methods, ["t"], 8, seed=1)
    result = study.run(tmp_path / "s", progress=False)
    truths = [own["t"] for own in result.plan["truths"]]
    assert truths == [0, 0.5, 0, 0.5]
    rows = result.replicates
    row = rows[(rows["n_groups"] == 12) & (rows["t"] == 0.5) & (rows["replicate"] == 5)]
    data = study.data(row["key"].iloc[0])
    assert data["g"].nunique() == 12
    fit = mlm.lmm("y ~ t + (1 | g)", data)
    assert row["estimate"].iloc[0] == fit.params["t"]
    assert row["std_error"].tolist() == [fit.bse["t"], fit.robust("CR2").bse["t"]]
    assert row["df"].tolist() == [fit.df["t"], fit.robust("CR2").df["t"]]
    again = mlm.Study({"n_groups": [8, 12], "t": [0.0, 0.5]}, design.under({"t": 0.7}), methods,
                      ["t"], 8, seed=1)  # fmt: skip
    assert again.fingerprint != study.fingerprint
    with pytest.raises(mlm.ModelError, match="did you mean 'n_groups'"):
        mlm.Study({"n_group": [8]}, design, methods, ["t"], 8)


def test_covariance_parameters_and_contrasts(tmp_path):
    methods = {"REML": mlm.Method("y ~ t + x + (1 | g)")}
    estimands = {"t - x": 0.3, "sd_(Intercept)|g": "sd", "Residual": lambda condition: 1.0}
    study = small(methods=methods, estimands=estimands, n_replicates=5)
    rows = study.run(tmp_path / "s", progress=False).replicates
    row = rows.groupby("estimand").nth(12).set_index("estimand")
    fit = mlm.lmm("y ~ t + x + (1 | g)", study.data(row["key"].iloc[0]))
    assert row.loc["sd_(Intercept)|g", "estimate"] ** 2 == pytest.approx(
        fit.varcorr["g"].iloc[0, 0], rel=1e-14
    )
    assert row.loc["Residual", "estimate"] == pytest.approx(fit.scale, rel=1e-14)
    V = fit.cov_params()
    se = np.sqrt(V.loc["t", "t"] + V.loc["x", "x"] - 2 * V.loc["t", "x"])
    difference = fit.params["t"] - fit.params["x"]
    assert row.loc["t - x", "estimate"] == pytest.approx(difference, rel=1e-13)
    assert row.loc["t - x", "std_error"] == pytest.approx(se, rel=1e-13)
    assert rows["error"].isna().all()


class Params:
    """What statsmodels' results have."""

    params = pd.Series({"Intercept": 1.0, "t": 0.4})
    bse = pd.Series({"Intercept": 0.1, "t": 0.2})
    pvalues = pd.Series({"Intercept": 0.0, "t": 0.05})
    converged = True

    def conf_int(self):
        return pd.DataFrame({0: [0.8, 0.0], 1: [1.2, 0.8]}, index=["Intercept", "t"])


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        ({"t": 0.4}, [0.4, None, None, None, None, None]),
        ({"t": (0.4, 0.2)}, [0.4, 0.2, np.inf, 0.0455003, 0.0080072, 0.7919928]),
        ((0.4, 0.2), [0.4, 0.2, np.inf, 0.0455003, 0.0080072, 0.7919928]),
        ({"estimate": 0.4, "std_error": 0.2, "df": 10, "converged": True},
         [0.4, 0.2, 10, 0.0733880, -0.0456278, 0.8456278]),
        ({"t": (0.4, 0.2, 10)}, [0.4, 0.2, 10, 0.0733880, -0.0456278, 0.8456278]),
        ({"t": {"estimate": 0.4, "se": 0.2, "lower": 0.1, "upper": 0.9}},
         [0.4, 0.2, np.inf, 0.0455003, 0.1, 0.9]),
        (Params(), [0.4, 0.2, np.inf, 0.05, 0.0, 0.8]),
    ],
)  # fmt: skip
def test_what_functions_may_return(tmp_path, returned, expected):
    study = small(methods={"own": lambda data, condition: returned}, n_replicates=1)
    rows = study.run(tmp_path / "s", progress=False).replicates
    found = rows[["estimate", "std_error", "df", "p_value", "lower", "upper"]].iloc[0]
    expected = [np.nan if value is None else value for value in expected]
    np.testing.assert_allclose(found.to_numpy(float), expected, rtol=1e-5)
    assert rows["converged"].all()


def test_a_fit_is_a_result_too(tmp_path):
    def fitted(data, condition):
        return mlm.lmm("y ~ t + x + (1 | g)", data)

    rows = small(methods={**METHODS, "fit": fitted}, n_replicates=3).run(
        tmp_path / "s", progress=False
    )
    rows = rows.replicates
    one, other = (rows[rows["method"] == name].drop(columns="method") for name in ("REML", "fit"))
    pd.testing.assert_frame_equal(
        one.reset_index(drop=True), other.reset_index(drop=True), check_exact=True
    )


def test_a_condition_ends_when_errors_are_small(tmp_path):
    """At the first chunk after which they are, whatever was run before."""
    study = small(conditions={"n_groups": [6], "sd": [0.0, 3.0]}, n_replicates=200, chunk=20,
                  stop_at={"bias": 0.09})  # fmt: skip
    result = study.run(tmp_path / "s", progress=False)
    early, late = result.n_finished
    assert early < late <= 200
    whole = small(conditions={"n_groups": [6], "sd": [0.0]}, n_replicates=200).run(
        tmp_path / "w", progress=False
    )
    rows = whole.replicates
    errors = [
        max(own["estimate"].iloc[:n].std(ddof=1) for _, own in rows.groupby("method")) / np.sqrt(n)
        for n in range(20, 201, 20)
    ]
    assert early == 20 * (1 + int(np.argmax(np.array(errors) <= 0.09)))
    before = files(tmp_path / "s")
    study.run(tmp_path / "s", progress=False)
    assert files(tmp_path / "s") == before


def test_pictures_are_drawn_where_they_are_told_to(result):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    one = {"where": {"n_groups": 6, "sd": 1}}
    several = {
        "zip": (2, one), "funnel": (2, one), "by_method": (1, one), "power": (2, {}),
    }  # fmt: skip
    for name, (n, how) in several.items():
        figure, axes = pyplot.subplots(1, n)
        drawn = getattr(result.plot, name)(**how, ax=axes)
        assert list(np.ravel(drawn)) == list(np.ravel(axes)), name
        assert all(ax.get_xlabel() or ax.get_ylabel() for ax in figure.axes)
        with pytest.raises(mlm.DataError, match="5 panels and the picture"):
            getattr(result.plot, name)(**how, ax=pyplot.subplots(1, 5)[1])
    for name in ("lollipop", "nested_loop"):
        _, ax = pyplot.subplots()
        assert getattr(result.plot, name)("coverage", ax=ax) is ax
    pyplot.close("all")


def test_intervals_of_shares_have_a_width_at_0_and_1(result):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    axes = result.plot.power(where={"sd": 1})
    table = result.performance(["power", "n"], interval=True)
    rows = table[(table["sd"] == 1) & (table["method"] == "REML") & (table["estimand"] == "t")]
    power, n = (rows[rows["measure"] == name] for name in ("power", "n"))
    bars = axes.ravel()[0].containers[0].lines[2][0].get_segments()
    for bar, share, count in zip(bars, power["value"], n["value"], strict=True):
        exact = stats.binomtest(round(share * count), int(count)).proportion_ci(method="exact")
        np.testing.assert_allclose(bar[:, 1], [exact.low, exact.high], atol=1e-12)
    # Methods stand beside each other.
    one, other = (lines.lines[0].get_xdata() for lines in axes.ravel()[0].containers[:2])
    assert (one < other).all()
    pyplot.close("all")


def test_pictures_and_report(tmp_path, result):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    assert result.plot.zip(where={"n_groups": 6}).shape == (2, 2)
    assert result.plot.funnel(where={"sd": 1}).shape == (2, 2)
    ax = result.plot.lollipop("coverage")
    [legend] = ax.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["REML", "OLS"]
    assert len(result.plot.nested_loop("bias").patches) == 2 + 2
    assert result.plot.power().ravel()[0].get_xlabel() == "n_groups"
    assert result.plot.by_method().size == 4
    with pytest.raises(mlm.DataError, match="no factor"):
        result.plot.zip(where={"groups": 6})
    pyplot.close("all")
    result.report(tmp_path / "study.html")
    text = (tmp_path / "study.html").read_text()
    assert "http" not in text.replace("http-equiv", "")
    assert text.count("<img") == 5
    assert "<td>" in text
    assert not pyplot.get_fignums()


def test_a_study_is_read_without_its_functions(tmp_path, result):
    again = mlm.load_study(result.path)
    pd.testing.assert_frame_equal(again.replicates, result.replicates, check_exact=True)
    assert again.plan["seed"] == 3
    assert "def trial" in (result.path / "plan.json").read_text()
    assert again.versions["mlmfast"] == mlm.__version__
    with pytest.raises(mlm.DataError, match="holds no study"):
        mlm.load_study(tmp_path)


def test_the_stream_of_a_replicate_is_as_documented():
    """Anybody can draw it again with NumPy alone."""
    import hashlib
    import json

    condition = {"n_groups": 6, "sd": 1}
    text = json.dumps(condition, sort_keys=True, separators=(",", ":"))
    name = int(hashlib.blake2b(text.encode(), digest_size=8).hexdigest(), 16)
    key = (name >> 32, name & 0xFFFFFFFF, 11)
    rng = np.random.Generator(np.random.PCG64DXSM(np.random.SeedSequence(3, spawn_key=key)))
    expected = trial(condition, rng)
    assert small().data(condition, 11)["y"].tolist() == expected["y"].tolist()


def test_generators_may_fill_the_same_arrays_again(tmp_path):
    """What is kept of a replicate is not what the next one writes."""
    frame = pd.DataFrame(trial({"n_groups": 10}, np.random.default_rng(1)))
    buffer = np.empty(40)

    def into_frame(condition, rng):
        drawn = trial(condition, rng)
        for name in ("y", "x"):
            frame.loc[:, name] = drawn[name]
        return frame

    def into_buffer(condition, rng):
        drawn = trial(condition, rng)
        buffer[:] = drawn["y"]
        return {**drawn, "y": buffer}

    conditions = {"n_groups": [10]}
    plain = small(conditions=conditions).run(tmp_path / "p", progress=False).replicates
    for k, generate in enumerate((into_frame, into_buffer)):
        own = small(conditions=conditions, generate=generate)
        rows = own.run(tmp_path / str(k), progress=False).replicates
        pd.testing.assert_frame_equal(rows, plain, check_exact=True)


def constant_at_times(condition, rng):
    """A response without variance in some replicates, or without any value, or an effect lost."""
    data = fixed_rows(condition, rng)
    u = rng.uniform()
    if u < 0.2:
        data["y"] = np.ones(len(data["y"]))
    elif u < 0.4:
        data["y"] = np.full(len(data["y"]), np.nan)
    elif u < 0.6:
        data["t"] = np.zeros(len(data["y"]))
    return data


def test_what_is_said_of_failed_fits_does_not_go_by_their_neighbours(tmp_path):
    changes = {"generate": constant_at_times, "methods": {"REML": mlm.Method("y ~ t + (1 | g)")}}
    study = small(**changes, conditions={"n_groups": [6]})
    rows = study.run(tmp_path / "s", progress=False).replicates
    texts = rows["error"].dropna()
    assert texts.nunique() == 3, texts.unique()
    one = small(**changes, conditions={"n_groups": [6]}, chunk=1)
    pd.testing.assert_frame_equal(
        one.run(tmp_path / "one", progress=False).replicates, rows, check_exact=True
    )
