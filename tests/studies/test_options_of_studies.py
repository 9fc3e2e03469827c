"""Partial nesting, and random numbers that conditions share."""

import numpy as np
import pytest

import mlmfast as mlm
from mlmfast.errors import DataError


def _therapists(**more):
    return mlm.design(
        "y ~ arm + (0 + in_therapist | therapist)",
        levels={"therapist": 12, "arm": ["c", "t"], "patient": 5},
        between={"arm": "therapist"},
        partial={"therapist": {"arm": "t"}},
        params={"armt": 0.4},
        sigma=1,
        **{"icc": 0.3, **more},
    )


def test_some_rows_are_grouped_and_others_are_not():
    design = _therapists()
    data = design.data
    assert (data["in_therapist"] == (data["arm"] == "t")).all()
    assert data.loc[data["arm"] == "t", "therapist"].nunique() == 6
    assert data.loc[data["arm"] == "c", "therapist"].nunique() == 30
    assert design.varcorr["therapist"].iloc[0, 0] == pytest.approx(0.3 / 0.7)
    one = design.under({"partial": {"therapist": {"arm": "t", "others": "one"}}})
    assert one.data.loc[data["arm"] == "c", "therapist"].nunique() == 1
    pseudo = design.under({"partial": {"therapist": {"arm": "t", "others": "pseudo"}}})
    assert pseudo.data["therapist"].nunique() == 12
    assert (pseudo.data["in_therapist"] == data["in_therapist"]).all()
    more = design.under({"n_therapist": 20})
    assert more.data.loc[more.data["arm"] == "c", "therapist"].nunique() == 50


def test_only_the_grouped_are_correlated():
    Y = _therapists(varcorr={"therapist": 4}, icc=None).simulate(4000, seed=1)
    arm = (_therapists().data["arm"] == "t").to_numpy()
    for inside, variance, covariance in ((True, 5.0, 4.0), (False, 1.0, 0.0)):
        rows = np.flatnonzero(arm == inside)[:5]
        found = np.cov(Y[rows])
        assert np.diag(found).mean() == pytest.approx(variance, rel=0.08)
        off = found[~np.eye(5, dtype=bool)].mean()
        assert off == pytest.approx(covariance, rel=0.08, abs=0.05)
    np.testing.assert_allclose(Y[arm].mean() - Y[~arm].mean(), 0.4, atol=0.05)


def test_a_study_of_partial_nesting(tmp_path):
    study = mlm.Study(
        [{"partial": {"therapist": {"arm": "t", "others": o}}} for o in ("singletons", "pseudo")],
        _therapists(),
        {"partial": mlm.Method("y ~ arm + (0 + in_therapist | therapist)")},
        ["armt"],
        60,
        seed=1,
        common_random_numbers=True,
    )
    frame = study.run(tmp_path / "s", progress=False).replicates
    assert frame["error"].isna().all()
    assert set(frame["partial"]) == {str(c["partial"]).replace("'", '"') for c in study.conditions}


def test_refusals_of_partial_nesting():
    with pytest.raises(DataError, match="did you mean 'therapist'"):
        mlm.design("y ~ 1 + (1 | therapist)", levels={"therapist": 4, "arm": ["a", "b"]},
                   partial={"therapists": {"arm": "a"}}, icc=0.1, sigma=1)  # fmt: skip
    with pytest.raises(DataError, match="has no level 'x'"):
        mlm.design("y ~ 1 + (1 | therapist)", levels={"therapist": 4, "arm": ["a", "b"]},
                   partial={"therapist": {"arm": "x"}}, icc=0.1, sigma=1)  # fmt: skip
    with pytest.raises(DataError, match="'others' is 'many'"):
        _therapists().under({"partial": {"therapist": {"arm": "t", "others": "many"}}})
    with pytest.raises(DataError, match="goes with levels="):
        mlm.design(
            "y ~ 1 + (1 | g)", data={"g": [1, 2]}, partial={"g": {"a": "b"}}, icc=0.1, sigma=1
        )


def _design():
    return mlm.design(
        "y ~ t + (1 | g)",
        levels={"g": 6, "t": [0, 1], "row": 3},
        params={"t": 0.5},
        icc=0.2,
        sigma=1,
    )


def _study(common, generate=None):
    conditions = {"t": [0.0, 0.5]} if generate is None else {"effect": [0.0, 0.5]}
    return mlm.Study(
        conditions,
        generate or _design(),
        {"REML": mlm.Method("y ~ t + (1 | g)")},
        {"t": None},
        20,
        seed=3,
        common_random_numbers=common,
    )


def _draw(condition, rng):
    g, t = np.repeat(np.arange(6), 4), np.tile([0.0, 1.0], 12)
    y = condition["effect"] * t + rng.normal(size=6)[g] + rng.normal(size=24)
    return {"y": y, "t": t, "g": g}


@pytest.mark.parametrize("generate", [None, _draw])
def test_conditions_share_random_numbers_where_that_is_asked_for(generate, tmp_path):
    study = _study(True, generate)
    a, b = (study.data(k, 7) for k in (0, 1))
    np.testing.assert_allclose(b["y"] - a["y"], 0.5 * a["t"], atol=1e-12)
    apart = _study(False, generate)
    left = apart.data(1, 7)["y"] - apart.data(0, 7)["y"] - 0.5 * a["t"]
    assert np.abs(left).max() > 0.1
    # The first condition of one is not the first of the other: their names are.
    assert study.fingerprint != apart.fingerprint
    rows = study.run(tmp_path / "s", progress=False).replicates
    wide = rows.pivot(index="replicate", columns=rows.columns[0], values="estimate")
    np.testing.assert_allclose(wide[0.5] - wide[0.0], 0.5, atol=1e-6)
    with pytest.raises(DataError, match="streams is"):
        apart.run(tmp_path / "s", progress=False)


def test_other_numbers_of_clusters_share_the_first():
    study = mlm.Study(
        {"n_g": [6, 9]}, _design(), {"m": mlm.Method("y ~ t + (1 | g)")}, ["t"], 5, seed=1,
        common_random_numbers=True,
    )  # fmt: skip
    few, many = study.data(0, 2), study.data(1, 2)
    np.testing.assert_array_equal(few["y"], many["y"][: len(few)])


def test_neither_true_nor_false():
    with pytest.raises(DataError, match="common_random_numbers is 'yes'"):
        _study("yes")


DDF = ["satterthwaite", "kenward-roger", "asymptotic", "residual", "between-within", 12]


@pytest.mark.parametrize("generator", ["design", "covariates", "function"])
def test_methods_that_share_fits_say_what_each_says_alone(generator, monkeypatch):
    from mlmfast.studies.plan.plan import Chunk
    from mlmfast.studies.replicates import fits_of_methods
    from mlmfast.studies.replicates.chunk import chunk_table

    covariates = {"covariates": {"x": "normal"}, "formula": "y ~ t + x + (1 | g)"}
    more = covariates if generator == "covariates" else {"formula": "y ~ t + (1 | g)"}
    design = mlm.design(levels={"g": 6, "t": [0, 1], "r": 2}, icc=0.2, sigma=1, **more)
    generate = _draw if generator == "function" else design
    conditions = {"effect": [0.3]} if generator == "function" else {"n_g": [6]}
    formula = more["formula"]
    methods = {str(ddf): mlm.Method(formula, ddf=ddf) for ddf in DDF}
    methods["wide"] = mlm.Method(formula, level=0.99)
    methods["robust"] = mlm.Method(formula, robust="CR2")
    methods["ML"] = mlm.Method(formula, "ML")
    calls = []
    real = fits_of_methods.fit_together
    monkeypatch.setattr(fits_of_methods, "fit_together", lambda *a: calls.append(a) or real(*a))

    def rows(chosen):
        study = mlm.Study(conditions, generate, chosen, {"t": 0.0}, 12, seed=2)
        return chunk_table(study._plan, Chunk(0, 0, 12)).to_pandas()

    together = rows(methods)
    # REML once for all but between-within, which looks at the rows of each first, and ML.
    assert len(calls) <= 3
    for name, method in methods.items():
        alone = rows({name: method})
        own = together[together["method"] == name].reset_index(drop=True)
        assert alone.drop(columns="key").equals(own.drop(columns="key")), name


def test_a_generator_may_fail_in_the_first_replicates(tmp_path):
    drawn = []

    def late(condition, rng):
        drawn.append(1)
        if len(drawn) <= 6:
            raise ValueError("not yet")
        return _draw({"effect": 0.0}, rng)

    method = {"m": mlm.Method("y ~ t + (1 | g)")}
    study = mlm.Study({"k": [1]}, late, method, {"t": 0.0}, 12, seed=1)
    frame = study.run(tmp_path / "s", progress=False).replicates
    assert frame["error"].isna().all()
    never = mlm.Study({"k": [1]}, lambda c, rng: {}["y"], method, {"t": 0.0}, 12, seed=1)
    with pytest.raises(DataError, match="failed in every replicate tried"):
        never.run(tmp_path / "t", progress=False)


def test_a_method_that_never_converges_is_told(tmp_path):
    method = mlm.Method("y ~ t + (1 | g)", options={"max_iter": 1, "tolerance": 1e-300})
    study = mlm.Study({"effect": [0.5]}, _draw, {"m": method}, {"t": 0.5}, 8, seed=1)
    table = study.run(tmp_path / "s", progress=False).performance(["n", "convergence", "bias"])
    values = table.set_index("measure")["value"]
    assert values["convergence"] == 0.0
    assert values["n"] == 0
    assert np.isnan(values["bias"])
