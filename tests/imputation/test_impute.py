"""Imputed responses: rbmi's published tables, dense arithmetic, identities and refusals.

The antidepressant trial (reference/data/antidepressant.csv) is that of R's rbmi, made public by the
DIA working group on missing data. What is expected is printed in the articles "Quickstart" and
"Inference with Conditional Mean Imputation" of its documentation (version 1.5.2).
"""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import DataError, ModelError
from mlmfast.imputation.strategies import STRATEGIES

from ..cases import read_frame

FORMULA = "CHANGE ~ THERAPY * VISIT + BASVAL * VISIT"
VISITS = ("4", "5", "6", "7")
JUMP = {"strategy": "J2R", "arm": "THERAPY", "reference": "PLACEBO"}

#: Conditional means under jump to reference with the jackknife: estimate, se, limits, p.
CONDITIONAL = {
    "trt_4": (-0.092, 0.695, -1.453, 1.27, 0.895),
    "drug_4": (-1.616, 0.588, -2.767, -0.464, 0.006),
    "placebo_4": (-1.708, 0.396, -2.484, -0.931, 0.0),
    "trt_5": (1.305, 0.878, -0.416, 3.027, 0.137),
    "drug_5": (-4.133, 0.688, -5.481, -2.785, 0.0),
    "placebo_5": (-2.828, 0.604, -4.011, -1.645, 0.0),
    "trt_6": (1.929, 0.862, 0.239, 3.619, 0.025),
    "drug_6": (-6.088, 0.671, -7.402, -4.773, 0.0),
    "placebo_6": (-4.159, 0.686, -5.503, -2.815, 0.0),
    "trt_7": (2.126, 0.858, 0.444, 3.807, 0.013),
    "drug_7": (-6.965, 0.685, -8.307, -5.622, 0.0),
    "placebo_7": (-4.839, 0.762, -6.333, -3.346, 0.0),
}
#: 150 Bayesian draws: estimate and standard error of the treatment effect by visit.
BAYES = {
    "5": (1.33263541, 0.9230670),
    "6": (1.94988585, 0.9939613),
    "7": (2.16910952, 1.1200045),
}
#: The visit without a missing response, to all digits: estimate, se, limits.
COMPLETE = (-0.09180645, 0.6826279, -1.43949684, 1.2558839)


@pytest.fixture(scope="module")
def trial():
    return read_frame("antidepressant.csv", {"PATIENT": None, "VISIT": None, "THERAPY": None})


@pytest.fixture(scope="module")
def fit(trial):
    return mlm.lmm(FORMULA, trial, residual="us(VISIT | PATIENT)")


def ancova(frame):
    """Adjusted means at the mean baseline, and their difference, at each visit."""
    out = {}
    for visit in VISITS:
        own = frame[frame["VISIT"].astype(str) == visit]
        is_placebo = (own["THERAPY"] == "PLACEBO").to_numpy(dtype=float)
        x = np.column_stack([np.ones(len(own)), is_placebo, own["BASVAL"]])
        b = np.linalg.lstsq(x, own["CHANGE"].to_numpy(dtype=float), rcond=None)[0]
        out[f"trt_{visit}"] = b[1]
        out[f"drug_{visit}"] = b[0] + b[2] * own["BASVAL"].mean()
        out[f"placebo_{visit}"] = b[0] + b[1] + b[2] * own["BASVAL"].mean()
    return out


def test_conditional_means_with_the_jackknife(fit):
    imputed = fit.impute(**JUMP, draws="jackknife")
    assert len(imputed) == 173
    assert [len(imputed[k]) for k in (0, 1, 172)] == [688, 684, 684]
    assert imputed.imputed.mean(axis=0).round(2).tolist() == [0.0, 0.08, 0.13, 0.25]
    pooled = mlm.pool(imputed.analyse(ancova), rule="jackknife").frame.set_index("term")
    columns = ["estimate", "SE", "lower", "upper", "p_value"]
    for name, expected in CONDITIONAL.items():
        found = pooled.loc[name, columns].to_numpy(dtype=float)
        # As many digits as are printed.
        np.testing.assert_allclose(found, expected, atol=6e-4)


@pytest.mark.parametrize("draws", ["posterior", "bootstrap"])
def test_draws_pooled_by_rubins_rules(fit, draws):
    imputed = fit.impute(60, seed=7, **JUMP, draws=draws)
    for visit in VISITS:
        fits = [
            mlm.lmm("CHANGE ~ THERAPY + BASVAL", f[f["VISIT"] == visit], ddf="residual")
            for f in imputed
        ]
        row = mlm.pool(fits).frame.set_index("term").loc["THERAPYPLACEBO"]
        if visit == "4":
            found = [row[name] for name in ("estimate", "SE", "lower", "upper")]
            np.testing.assert_allclose(found, COMPLETE, rtol=1e-6)
            continue
        # Both are means over draws: between 60 of ours and 150 of theirs.
        estimate, se = BAYES[visit]
        error = se * np.sqrt(row["fmi"] * (1 / 60 + 1 / 150))
        assert abs(row["estimate"] - estimate) < 3 * error
        assert row["SE"] == pytest.approx(se, rel=0.04)


def dense(fit, subject, strategy, event):
    """Mean and covariance of the four visits of a subject, written out."""
    p = fit.params
    own = fit.residual_cov
    own = own if isinstance(own, dict) else {"DRUG": own, "PLACEBO": own}

    def mean(arm):
        out = []
        for visit in VISITS:
            value = p["(Intercept)"] + p["BASVAL"] * subject["BASVAL"]
            if visit != "4":
                value += p[f"VISIT{visit}"] + p[f"VISIT{visit}:BASVAL"] * subject["BASVAL"]
            if arm == "PLACEBO":
                value += p["THERAPYPLACEBO"]
                value += 0 if visit == "4" else p[f"THERAPYPLACEBO:VISIT{visit}"]
            out.append(value)
        return np.array(out)

    arm = subject["THERAPY"]
    mu, ref = mean(arm), mean("PLACEBO")
    V, R = own[arm].to_numpy(), own["PLACEBO"].to_numpy()
    a, b = list(range(event)), list(range(event, 4))
    if strategy in {"MAR", "delta"} or event == 4:
        return mu, V
    if strategy == "CR":
        return ref, R
    if strategy == "LMCF":
        return np.where(np.arange(4) >= event, mu[event - 1], mu), V
    shift = mu[event - 1] - ref[event - 1] if strategy == "CIR" else 0.0
    joined = np.empty((4, 4))
    inverse = np.linalg.inv(R[np.ix_(a, a)])
    joined[np.ix_(a, a)] = V[np.ix_(a, a)]
    joined[np.ix_(b, a)] = R[np.ix_(b, a)] @ inverse @ V[np.ix_(a, a)]
    joined[np.ix_(a, b)] = joined[np.ix_(b, a)].T
    joined[np.ix_(b, b)] = (
        R[np.ix_(b, b)]
        - R[np.ix_(b, a)]
        @ inverse
        @ (R[np.ix_(a, a)] - V[np.ix_(a, a)])
        @ inverse
        @ R[np.ix_(a, b)]
    )
    return np.where(np.arange(4) >= event, ref + shift, mu), joined


@pytest.mark.parametrize("by_arm", [False, True])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_conditional_means_are_those_of_dense_matrices(trial, fit, strategy, by_arm):
    if by_arm:
        fit = mlm.lmm(FORMULA, trial, residual="us(VISIT | THERAPY / PATIENT)")
    more = {"reference": "PLACEBO"} if strategy in {"J2R", "CR", "CIR"} else {}
    delta = {"DRUG": {"7": 2.0, "6": 1.0}, "PLACEBO": 0.0} if strategy == "delta" else None
    imputed = fit.impute(strategy=strategy, arm="THERAPY", draws="mean", delta=delta, **more)
    wide = trial.pivot(index="PATIENT", columns="VISIT", values="CHANGE")
    facts = trial.drop_duplicates("PATIENT").set_index("PATIENT")
    assert list(imputed.subjects) == list(wide.index)
    checked = 0
    for i, label in enumerate(imputed.subjects):
        y = wide.loc[label].to_numpy(dtype=float)
        missing = np.isnan(y)
        if not missing.any():
            continue
        event = 4 - int(np.argmin(missing[::-1]))
        mean, V = dense(fit, facts.loc[label], strategy, event)
        seen = ~missing
        slope = V[np.ix_(missing, seen)] @ np.linalg.inv(V[np.ix_(seen, seen)])
        expected = mean[missing] + slope @ (y[seen] - mean[seen])
        if strategy == "delta" and facts.loc[label, "THERAPY"] == "DRUG":
            late = np.arange(4) >= event
            expected = expected + np.where(late, [0.0, 0.0, 1.0, 2.0], 0.0)[missing]
        np.testing.assert_allclose(imputed.responses[0, i, missing], expected, rtol=1e-9)
        np.testing.assert_array_equal(imputed.responses[0, i, seen], y[seen])
        checked += 1
    assert checked == 44


def test_draws_scatter_about_conditional_means(fit):
    """Their mean is the conditional mean, and their spread that of parameters and residuals."""
    mean = fit.impute(**JUMP, draws="mean").responses[0]
    drawn = fit.impute(4000, seed=3, **JUMP).responses
    missing = fit.impute(**JUMP, draws="mean").imputed
    found, sd = drawn[:, missing].mean(axis=0), drawn[:, missing].std(axis=0)
    assert np.abs((found - mean[missing]) / (sd / np.sqrt(4000))).max() < 5.0
    R = fit.residual_cov.to_numpy()
    last = np.sqrt(R[3, 3] - R[3, :3] @ np.linalg.solve(R[:3, :3], R[:3, 3]))
    alone = missing[:, 3] & (missing.sum(axis=1) == 1)
    spread = drawn[:, alone, 3].std(axis=0)
    assert (spread > last).all()
    assert spread.mean() < 1.12 * last


def test_rows_that_the_data_lack_are_as_rows_without_a_response(trial, fit):
    wide = trial.pivot(index="PATIENT", columns="VISIT", values="CHANGE")
    facts = trial.drop_duplicates("PATIENT").set_index("PATIENT")[["THERAPY", "BASVAL"]]
    every = wide.stack(future_stack=True).rename("CHANGE").reset_index().join(facts, on="PATIENT")
    assert every["CHANGE"].isna().sum() == 80
    other = mlm.lmm(FORMULA, every, residual="us(VISIT | PATIENT)")
    a, b = (own.impute(3, seed=1, **JUMP) for own in (fit, other))
    np.testing.assert_allclose(a.responses, b.responses, rtol=1e-7)
    first = a[0]
    assert first.shape == (688, 5)
    assert first["CHANGE"].notna().all()
    assert set(first.columns) == set(trial.columns)
    again = fit.impute(3, seed=1, **JUMP)
    np.testing.assert_array_equal(a.responses, again.responses)
    assert len(a[1:]) == 2
    assert a[-1].equals(a[2])
    with pytest.raises(IndexError, match="there are 3 data sets"):
        a[3]
    assert "3 data sets of 172 subjects at 4 visits, 80 of 688" in repr(a)


def test_events_by_column_and_by_dict(trial, fit):
    default = fit.impute(**JUMP, draws="mean")
    events = {s: e for s, e in zip(default.subjects, default.events, strict=True) if e is not None}
    assert len(events) == 43
    assert default.events[default.subjects.index("3618")] is None
    given = fit.impute(**JUMP, draws="mean", event=events)
    np.testing.assert_array_equal(given.responses, default.responses)
    series = fit.impute(**JUMP, draws="mean", event=pd.Series(events))
    np.testing.assert_array_equal(series.responses, default.responses)
    column = trial.assign(stop=trial["PATIENT"].astype(str).map(events))
    held = mlm.lmm(FORMULA, column, residual="us(VISIT | PATIENT)")
    named = held.impute(**JUMP, draws="mean", event="stop")
    np.testing.assert_allclose(named.responses, default.responses, rtol=1e-9)
    none = fit.impute(**JUMP, draws="mean", event={})
    mar = fit.impute(draws="mean")
    np.testing.assert_array_equal(none.responses, mar.responses)


def test_strategies_by_arm(fit):
    both = fit.impute(
        strategy={"DRUG": "J2R", "PLACEBO": "MAR"}, arm="THERAPY", reference="PLACEBO", draws="mean"
    )
    jump = fit.impute(**JUMP, draws="mean")
    # The reference arm jumps to itself.
    np.testing.assert_allclose(both.responses, jump.responses, rtol=1e-12)
    own = fit.impute(
        strategy="CR", arm="THERAPY", reference={"DRUG": "DRUG", "PLACEBO": "PLACEBO"}, draws="mean"
    )
    mar = fit.impute(draws="mean")
    np.testing.assert_allclose(own.responses, mar.responses, rtol=1e-12)


def test_subjects_without_any_response(trial):
    blank = trial.assign(CHANGE=trial["CHANGE"].where(trial["PATIENT"] != "1503"))
    fit = mlm.lmm(FORMULA, blank, residual="us(VISIT | PATIENT)")
    found = fit.impute(draws="mean")
    i = found.subjects.index("1503")
    mean, _ = dense(fit, trial.set_index("PATIENT").loc["1503"].iloc[0], "MAR", 4)
    np.testing.assert_allclose(found.responses[0, i], mean, rtol=1e-10)
    few = fit.impute(2, seed=1, draws="bootstrap", arm="THERAPY")
    assert np.isfinite(few.responses).all()
    with pytest.raises(ModelError, match="LMCF has no last mean"):
        fit.impute(strategy="LMCF", draws="mean")


def test_polars_and_other_structures(trial):
    polars = pytest.importorskip("polars")
    plain = trial.astype({"PATIENT": str, "VISIT": str, "THERAPY": str})
    fit = mlm.lmm(FORMULA, polars.from_pandas(plain), residual="ar1h(VISIT | PATIENT)")
    imputed = fit.impute(2, seed=5, **JUMP)
    assert isinstance(imputed[0], polars.DataFrame)
    other = mlm.lmm(FORMULA, plain, residual="ar1h(VISIT | PATIENT)").impute(2, seed=5, **JUMP)
    np.testing.assert_array_equal(imputed.responses, other.responses)


REFUSED = {
    "strategy": ({"strategy": "JTR2"}, ModelError, "did you mean 'J2R'"),
    "reference": ({"strategy": "J2R", "arm": "THERAPY"}, ModelError, "which arm is the reference"),
    "no arm": ({"strategy": "J2R", "reference": "PLACEBO"}, ModelError, "needs arm="),
    "arm": ({"arm": "THERPY"}, DataError, "did you mean 'THERAPY'"),
    "label": (
        {"strategy": "CR", "arm": "THERAPY", "reference": "placebo"}, DataError, "the arms are",
    ),
    "by arm": ({"strategy": {"DRUG": "MAR"}, "arm": "THERAPY"}, DataError, "the arms are DRUG"),
    "of MAR": ({"reference": "PLACEBO", "arm": "THERAPY"}, ModelError, "leave it out"),
    "n": ({"n": 0}, DataError, "an integer >= 1"),
    "draws": ({"draws": "mcmc"}, ModelError, "use 'posterior'"),
    "no delta": ({"strategy": "delta"}, ModelError, "needs delta="),
    "delta": ({"delta": [1.0, 2.0]}, DataError, "one for each of the 4 visits"),
    "delta by": ({"delta": {"DRUG": 1.0}}, DataError, "neither an arm"),
    "event": ({"event": {"1503": "9"}}, DataError, "'9' is no visit"),
    "subject": ({"event": {"nobody": "5"}}, DataError, "'nobody' is no subject"),
    "column": ({"event": "stop"}, DataError, "'stop' is no column"),
    "after": ({**JUMP, "event": {"1503": "5"}}, DataError, "have responses from their event on"),
    "changes": ({"arm": "VISIT"}, DataError, "changes within some subject"),
}  # fmt: skip


@pytest.mark.parametrize("key", REFUSED)
def test_what_is_refused(fit, key):
    arguments, error, message = REFUSED[key]
    with pytest.raises(error, match=message):
        fit.impute(**arguments)


def test_models_that_have_no_distribution_of_visits(trial, fit):
    with pytest.raises(ModelError, match="which the model gives by residual="):
        mlm.lmm("CHANGE ~ BASVAL", trial).impute()
    with pytest.raises(ModelError, match="is an expression"):
        mlm.lmm("exp(CHANGE / 10) ~ VISIT", trial, residual="cs(VISIT | PATIENT)").impute()
    with pytest.raises(ModelError, match="holds no rows"):
        mlm.load(fit.to_json()).impute()
    whole = trial[trial.groupby("PATIENT", observed=True)["CHANGE"].transform("size") == 4]
    with pytest.raises(DataError, match="nothing to impute"):
        mlm.lmm("CHANGE ~ VISIT", whole, residual="cs(VISIT | PATIENT)").impute()
    twice = pd.concat([trial, trial.iloc[[0]].assign(CHANGE=np.nan)])
    with pytest.raises(DataError, match="has several rows at visit"):
        mlm.lmm("CHANGE ~ VISIT", twice, residual="cs(VISIT | PATIENT)").impute()
    changing = trial.assign(day=np.arange(len(trial)) % 13)
    with pytest.raises(DataError, match="'day' changes within subjects"):
        mlm.lmm("CHANGE ~ VISIT + day", changing, residual="cs(VISIT | PATIENT)").impute()
    last = trial.assign(CHANGE=trial["CHANGE"].where(trial["VISIT"] != "7"))
    with pytest.raises(DataError, match="no row of visit '7' has a response"):
        mlm.lmm("CHANGE ~ VISIT", last, residual="cs(VISIT | PATIENT)").impute()


@pytest.mark.slow
def test_intervals_of_pooled_estimates_cover():
    """Missing at random in 300 trials of 60: the mean at the last visit, by posterior draws."""
    generator = np.random.default_rng(11)
    R = 0.5 ** np.abs(np.subtract.outer(range(3), range(3)))
    covered = 0
    for _ in range(300):
        y = generator.multivariate_normal(np.zeros(3), R, size=60)
        out = y[:, 1] > 0.5
        y[out, 2] = np.nan
        data = pd.DataFrame(
            {"id": np.repeat(np.arange(60), 3).astype(str), "v": list("abc") * 60, "y": y.ravel()}
        )
        fit = mlm.lmm("y ~ v", data, residual="us(v | id)")
        imputed = fit.impute(20, seed=int(generator.integers(2**31)))
        last = imputed.responses[:, :, 2]
        pooled = mlm.pool(last.mean(axis=1), se=last.std(axis=1, ddof=1) / np.sqrt(60), df=59)
        covered += bool(pooled["lower"][0] < 0 < pooled["upper"][0])
    assert 0.915 < covered / 300 < 0.98


def small_trial():
    """30 subjects at visits whose order is not that of the alphabet; 6 leave after the first."""
    rng = np.random.default_rng(3)
    subject = np.repeat(np.arange(30), 3)
    visit = np.tile(["week 1", "week 2", "week 10"], 30)
    arm = np.where(subject % 2, "active", "placebo")
    y = rng.normal(size=90) + rng.normal(size=30)[subject]
    y[(subject < 6) & (visit != "week 1")] = np.nan
    return pd.DataFrame(
        {
            "id": subject,
            "visit": pd.Categorical(visit, ["week 1", "week 2", "week 10"]),
            "arm": pd.Categorical(arm, ["placebo", "active"]),
            "treated": arm == "active",
            "dose": np.where(arm == "active", 2.5, 0.0),
            "y": y,
        }
    )


def as_given(data, library):
    if library == "pandas":
        return data
    module = pytest.importorskip(library)
    if library == "pyarrow":
        return module.Table.from_pandas(data, preserve_index=False)
    enums = {n: module.Enum(data[n].cat.categories.tolist()) for n in ("visit", "arm")}
    return module.from_pandas(data.astype(dict.fromkeys(enums, str))).with_columns(
        module.col(n).cast(dtype) for n, dtype in enums.items()
    )


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_imputed_data_have_the_order_of_visits_and_arms(library):
    formula, residual = "y ~ arm * visit + treated", "ar1(visit | id)"
    given = as_given(small_trial(), library)
    fit = mlm.lmm("y ~ arm * visit", given, residual=residual)
    one = fit.impute(draws="mean", **{**JUMP, "arm": "arm", "reference": "placebo"})[0]
    again = mlm.lmm("y ~ arm * visit", one, residual=residual)
    assert list(again.params.index) == list(fit.params.index)
    with pytest.warns(mlm.AliasedWarning):
        assert mlm.lmm(formula, one, residual=residual).nobs == 90
    # The complete data with categories that were never lost.
    whole = small_trial()
    whole["y"] = np.asarray(one["y"], dtype=float)
    expected = mlm.lmm("y ~ arm * visit", whole, residual=residual)
    np.testing.assert_allclose(again.params, expected.params, rtol=1e-12)
    assert again.llf == pytest.approx(expected.llf, abs=1e-10)


@pytest.mark.parametrize(
    ("arm", "reference", "other"), [("treated", False, True), ("dose", 0.0, 2.5)]
)
def test_arms_named_as_the_data_hold_them(arm, reference, other):
    data = small_trial()
    fit = mlm.lmm("y ~ arm * visit", data, residual="us(visit | id)")
    by_name = fit.impute(draws="mean", strategy="J2R", arm="arm", reference="placebo")
    own = mlm.lmm(f"y ~ {arm} * visit", data, residual="us(visit | id)")
    strategy = {reference: "MAR", other: "J2R"}
    found = own.impute(draws="mean", strategy=strategy, arm=arm, reference=reference)
    np.testing.assert_allclose(found.responses, by_name.responses, rtol=1e-6)
    delta = {reference: 0.0, other: 1.0}
    moved = own.impute(draws="mean", strategy="delta", arm=arm, delta=delta)
    plain = own.impute(draws="mean")
    added = (moved.responses - plain.responses)[0].sum()
    assert added == pytest.approx(float(plain.imputed[1::2].sum()))
