"""Many outcomes, many groups, many formulas: each fit is the one that `lmm` gives of it alone."""

import numpy as np
import pytest

import mlmfast as mlm
from mlmfast.errors import DataError, FormulaError, ModelError
from mlmfast.many_data_sets import several

FORMULAS = {"intercepts": "~ Days + (1 | Subject)", "slopes": "~ Days + (Days | Subject)"}


@pytest.fixture(scope="module")
def data():
    data = mlm.load_sleepstudy()
    rng = np.random.default_rng(1)
    data["lab"] = ["odd" if int(s) % 2 else "even" for s in data["Subject"]]
    data["score"] = rng.normal(size=len(data)) + 0.1 * data["Days"]
    data["late"] = data["score"].where(data["Days"] > 1)
    data["w"] = rng.uniform(1, 2, size=len(data))
    return data


def _check(batch, k, formula, data, **arguments):
    alone = mlm.lmm(formula, data, **arguments)
    np.testing.assert_array_equal(batch.params[k], alone.params)
    np.testing.assert_array_equal(batch.bse[k], alone.bse)
    np.testing.assert_array_equal(batch.df[k], alone.df)
    assert batch.llf[k] == alone.llf
    np.testing.assert_array_equal(batch[k].params, alone.params)


@pytest.mark.filterwarnings("ignore::mlmfast.errors.SingularFitWarning")
def test_outcomes_and_formulas_on_one_table(data):
    names = ["Reaction", "score", "late"]
    batch = mlm.fit_each(FORMULAS, data, responses=names)
    assert batch.glance()[["formula", "response"]].to_numpy().tolist() == [
        [f, r] for f in FORMULAS for r in names
    ]
    for k, (name, response) in enumerate([(f, r) for f in FORMULAS for r in names]):
        _check(batch, k, f"{response} {FORMULAS[name]}", data)
    assert batch.nobs.tolist() == [180, 180, 144] * 2
    assert batch.responses[4] == "slopes: score"
    assert set(batch.tidy()["formula"]) == set(FORMULAS)
    days = batch.tests("Days")
    np.testing.assert_array_equal(days.pvalue[:, 0], batch.pvalues[:, 1])


@pytest.mark.filterwarnings("ignore::mlmfast.errors.SingularFitWarning")
@pytest.mark.parametrize("ddf", ["satterthwaite", "kenward-roger"])
def test_outcomes_by_groups(data, ddf):
    formula = "y ~ Days + (1 | Subject)"
    batch = mlm.fit_each(
        formula, data, by="lab", responses=["Reaction", "score"], ddf=ddf, weights="w"
    )
    places = [(r, lab) for r in ("Reaction", "score") for lab in ("even", "odd")]
    assert list(zip(batch.by["response"], batch.by["lab"], strict=True)) == places
    for k, (response, lab) in enumerate(places):
        own = f"{response} ~ Days + (1 | Subject)"
        _check(batch, k, own, data[data["lab"] == lab], ddf=ddf, weights="w")


def test_several_formulas_of_their_own_responses(data):
    formulas = ["Reaction ~ Days + (1 | Subject)", "log(Reaction) ~ Days + (1 | Subject)"]
    batch = mlm.fit_each(formulas, data)
    for k, formula in enumerate(formulas):
        _check(batch, k, formula, data)
    assert list(batch.by["response"]) == ["Reaction", "log(Reaction)"]


def test_a_model_that_cannot_be_fitted_is_a_row(data):
    data = data.assign(constant=1.0)
    batch = mlm.fit_each("~ Days + (1 | Subject)", data, responses=["Reaction", "constant"])
    assert batch.status[0] == "converged"
    assert np.isnan(batch.llf[1])
    assert "constant" in batch.status[1] or "exactly" in batch.status[1]


@pytest.mark.filterwarnings("ignore::mlmfast.errors.SingularFitWarning")
def test_columns_that_are_named_as_those_that_tell_fits_apart(data):
    data = data.assign(response=data["lab"], formula=data["lab"])
    one, names = "~ Days + (1 | Subject)", ["Reaction", "score"]
    with pytest.raises(DataError, match=r"by='response' is also .* rename it"):
        mlm.fit_each(one, data, by="response", responses=names)
    with pytest.raises(DataError, match="by='response' is also"):
        mlm.fit_each(FORMULAS, data, by=["w", "response"], responses=["Reaction"])
    with pytest.raises(DataError, match="by='formula' is also"):
        mlm.fit_each(FORMULAS, data, by="formula", responses=["Reaction"])
    # One formula is no column, and one response of one formula neither.
    batch = mlm.fit_each(one, data, by="formula", responses=names)
    assert batch.glance()[["response", "formula"]].to_numpy().tolist() == [
        [r, lab] for r in names for lab in ("even", "odd")
    ]
    assert list(batch.tidy()["formula"].unique()) == ["even", "odd"]
    alone = mlm.fit_each(f"Reaction {one}", data, by="response")
    assert list(alone.glance()["response"]) == ["even", "odd"]


@pytest.mark.parametrize("name", ["status", "group", "estimate", "method"])
def test_levels_of_columns_that_the_frames_have_too(data, name):
    formula = "Reaction ~ Days + (1 | Subject)"
    plain = mlm.fit_each(formula, data, by="lab")
    batch = mlm.fit_each(formula, data.assign(**{name: data["lab"]}), by=name)
    for found, wanted in ((batch.glance(), plain.glance()), (batch.tidy(), plain.tidy())):
        first = f"by_{name}" if name in wanted else name
        assert found.columns[0] == first
        assert found.rename(columns={first: "lab"}).equals(wanted)


@pytest.mark.filterwarnings("ignore::mlmfast.errors.SingularFitWarning")
def test_one_bar_for_all_fits(data, monkeypatch):
    bars = []

    class Bar(several.ProgressBar):
        def __init__(self, *arguments):
            bars.append((self, arguments))
            super().__init__(*arguments)

    monkeypatch.setattr(several, "ProgressBar", Bar)
    mlm.fit_each(FORMULAS, data, responses=["Reaction", "score", "late"], progress=True)
    [(bar, arguments)] = bars
    assert arguments == ("fits", 6, True)
    assert bar.done == 6
    with pytest.raises(ModelError, match="progress is 'yes'"):
        mlm.fit_each(FORMULAS, data, responses=["Reaction"], progress="yes")


def test_refusals(data):
    with pytest.raises(DataError, match="each outcome once"):
        mlm.fit_each("~ Days + (1 | Subject)", data, responses=["score", "score"])
    with pytest.raises(DataError, match="'scores'"):
        mlm.fit_each("~ Days + (1 | Subject)", data, responses=["scores"])
    with pytest.raises(FormulaError, match="has no ~"):
        mlm.fit_each("Days + (1 | Subject)", data, responses=["score"])
    with pytest.raises(FormulaError, match="given twice"):
        mlm.fit_each(["y ~ 1", "y ~ 1"], data)
    with pytest.raises(FormulaError, match="there is no formula"):
        mlm.fit_each([], data)
    with pytest.raises(DataError, match="goes with a formula"):
        mlm.fit_each(y=np.ones((2, 3)), X=np.ones((3, 1)), groups=[0, 1, 1], responses=["a"])


def test_some_fits_of_a_batch_keep_their_tests(data):
    from mlmfast.batch.merge import Layout, merged

    model = mlm.LMM("Reaction ~ Days + (1 | Subject)", data)
    batch = model.fit_many(model.fit().simulate(5, seed=1))
    some = merged([batch], np.array([3, 1]), Layout.of([batch]))
    np.testing.assert_array_equal(some.df, batch.df[[3, 1]])
    np.testing.assert_array_equal(some.tests("Days").pvalue, batch.tests("Days").pvalue[[3, 1]])


@pytest.mark.parametrize("names", [["flat", "score"], ["late", "flat"], ["flat"]])
def test_a_constant_outcome_is_named(data, names):
    frame = data.assign(flat=2.0).set_index(np.arange(len(data)) // 2)
    status = mlm.fit_each("~ Days + (1 | Subject)", frame, responses=names).status
    assert status[names.index("flat")].startswith("the response 'flat' has no residual variance")
    assert all(text in ("converged", "singular") for text in status if "flat" not in text)
