"""How visits count: one rule for every structure that goes by order, whatever holds the column."""

import datetime as dt
import inspect
import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize

import mlmfast as mlm
from mlmfast.design.residual.visits.steps import equal_steps
from mlmfast.errors import DataError, ModelError, SpacingWarning

BY_LAG = ("ar1", "ar1h", "toep", "toeph", "arma11")
ORDERED = (*BY_LAG, "ad", "adh", "un")
GAPS = np.array([0, 1, 3, 4, 5, 8])


def rows(visits, n=40, rho=0.6, seed=1):
    """Subjects with a first-order autoregression over the steps between visits."""
    visits = np.asarray(visits)
    lags = np.abs(visits[:, None] - visits)
    size = np.abs(rho) ** lags
    correlation = np.where((lags % 2 == 1) & (rho < 0), -size, size)
    y = np.random.default_rng(seed).multivariate_normal(np.zeros(len(visits)), correlation, n)
    return pd.DataFrame(
        {
            "y": y.ravel(),
            "id": np.repeat(np.arange(n), len(visits)),
            "visit": np.tile(visits, n),
        }
    )


def fitted(frame, structure, visit="visit", number=None, formula="y ~ 1", **arguments):
    after = ", 2" if structure == "un" and number is None else ""
    after = after if number is None else f", {number}"
    text = f"{structure}({visit} | id{after})"
    return mlm.lmm(formula, frame, residual=text, **arguments)


def quietly(*arguments, **more):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpacingWarning)
        return fitted(*arguments, **more)


def dense_deviance(frame, correlation_of, theta, visits, n_sd=1):
    """-2 log-likelihood of subjects with all visits and one mean, R written out."""
    k = len(visits)
    y = frame["y"].to_numpy().reshape(-1, k)
    sd = np.exp(theta[:n_sd]) * np.ones(k)
    R = correlation_of(theta[n_sd:]) * np.outer(sd, sd)
    if np.linalg.eigvalsh(R)[0] <= 1e-10:
        return 1e10
    inverse = np.linalg.inv(R)
    mean = (inverse.sum(axis=0) @ y.T).sum() / (len(y) * inverse.sum())
    squares = np.einsum("ni,ij,nj->", y - mean, inverse, y - mean)
    return y.size * np.log(2 * np.pi) + len(y) * np.linalg.slogdet(R)[1] + squares


def lowest(function, starts):
    best = np.inf
    for start in starts:
        found = minimize(function, start, method="BFGS")
        options = {"maxiter": 4000, "xatol": 1e-9, "fatol": 1e-10, "adaptive": True}
        found = minimize(function, found.x, method="Nelder-Mead", options=options)
        best = min(best, found.fun)
    return best


def lags_of(places):
    return np.abs(np.subtract.outer(places, places))


# -- numbers count in units of their greatest common step ----------------------------------------


@pytest.mark.parametrize(
    ("values", "places"),
    [
        ([0, 2, 4, 6], [0, 1, 2, 3]),
        ([0, 4, 8, 12, 24], [0, 1, 2, 3, 6]),
        ([-3, 0, 9], [0, 1, 4]),
        ([0.1, 0.2, 0.1 + 0.2, 0.5], [0, 1, 2, 4]),
        ([0.5, 1.0, 2.5], [0, 1, 4]),
        ([1 / 24, 2 / 24, 0.125, 0.25], [0, 1, 2, 5]),
        ([0.041666667, 0.083333333, 0.125, 0.25], [0, 1, 2, 5]),
        ([1e6 + 0.1, 1e6 + 0.2, 1e6 + 0.4], [0, 1, 3]),
        ([1.5, 2.0, 3.5], [0, 1, 4]),
        ([1.0, 2.5, 3.5], [0, 3, 5]),
        (np.float32([0.1, 0.2, 0.3, 0.5, 0.7]), [0, 1, 2, 4, 6]),
        (np.cumsum([0.1] * 6), [0, 1, 2, 3, 4, 5]),
        # Values that differ by rounding stand at one place.
        ([0.0, 0.3, 0.1 + 0.2, 0.6], [0, 1, 1, 2]),
        ([7.0], [0]),
    ],
)
def test_numbers_stand_at_multiples_of_their_common_step(values, places):
    steps = equal_steps(np.asarray(values, dtype=float))
    assert steps.places.tolist() == places
    found, whole = steps.places_of(np.asarray(values, dtype=float))
    assert found.tolist() == places
    assert whole.all()


@pytest.mark.parametrize("values", [[0, 1, np.e], [0, 1, 1 + np.sqrt(2)], [0, 1001, 2003]])
def test_numbers_without_a_common_step(values):
    assert equal_steps(np.asarray(values, dtype=float)) is None


@pytest.mark.parametrize("structure", BY_LAG)
def test_a_unit_and_a_beginning_of_time_say_nothing(structure):
    frame = rows([0, 1, 2, 3], rho=-0.5)
    fits = [
        fitted(frame.assign(visit=visit), structure)
        for visit in (
            frame["visit"],
            2 * frame["visit"],
            2 * frame["visit"] + 0.5,
            0.1 * frame["visit"],
            (7 * frame["visit"] - 100).astype("int8"),
            (frame["visit"] / 3).astype("float32"),
            frame["visit"].astype("Int64"),
        )
    ]
    for fit in fits[1:]:
        assert fit.llf == fits[0].llf
        assert (fit.residual_parameters == fits[0].residual_parameters).all()
    # Negative correlations of neighbours are there, whatever the unit.
    if structure == "ar1":
        assert fits[0].residual_parameters["AR(1)"] < -0.3


@pytest.mark.parametrize("structure", BY_LAG)
def test_numbers_with_gaps_count_by_value(structure):
    """The right value: the likelihood written out, minimised from several starts."""
    places = np.array([0, 1, 2, 4])
    frame = rows(places, n=25, seed=5)
    fit = quietly(frame.assign(visit=4 * frame["visit"]), structure, method="ML")
    lags = lags_of(places)
    met = np.unique(lags[lags > 0])
    n_sd = 4 if structure.endswith("h") else 1

    def correlations(r):
        if structure.startswith("toep"):
            table = dict(zip(met.tolist(), np.tanh(r).tolist(), strict=True))
            return np.vectorize(lambda lag: table.get(lag, 1.0))(lags)
        if structure.startswith("ar1"):
            return np.tanh(r[0]) ** lags
        rho = np.tanh(r[0])
        gamma = (rho + np.tanh(r[1])) / 2
        return np.where(lags == 0, 1.0, gamma * rho ** np.maximum(lags - 1.0, 0.0))

    n_r = len(met) if structure.startswith("toep") else 1 + (structure == "arma11")
    starts = [np.r_[np.zeros(n_sd), np.full(n_r, r) / np.arange(1, n_r + 1)] for r in (0.2, 0.5)]
    best = lowest(lambda t: dense_deviance(frame, correlations, t, places, n_sd), starts)
    assert fit.deviance == pytest.approx(best, abs=1e-5)
    assert fit._record.n_covariance_parameters == n_sd + n_r


def test_only_lags_that_occur_have_parameters():
    frame = rows([0, 1, 2, 3, 6])
    fit = quietly(frame.assign(visit=4 * frame["visit"]), "toep")
    assert list(fit.residual_parameters.index) == ["Variance", *(f"TOEP({k})" for k in range(2, 8))]
    assert list(fit.residual_cov.index) == ["0", "4", "8", "12", "24"]
    far = quietly(frame.assign(visit=frame["visit"].replace({3: 100, 6: 101})), "toep")
    assert list(far.residual_parameters.index)[1:] == [
        f"TOEP({k + 1})" for k in (1, 2, 98, 99, 100, 101)
    ]
    covariance, own = far.residual_cov.to_numpy(), far.residual_parameters
    assert covariance[0, 3] == pytest.approx(own["TOEP(101)"])
    assert covariance[2, 4] == pytest.approx(own["TOEP(100)"])


def test_a_toeplitz_matrix_of_the_visits_alone_need_be_positive_definite():
    # With correlation 0.9 at one step, 0 at nine and 0.43 at ten no stationary sequence goes on.
    places = np.array([0, 1, 10])
    r = {0: 1.0, 1: 0.9, 9: 0.0, 10: 0.43}
    R = np.vectorize(r.get)(lags_of(places))
    assert np.linalg.eigvalsh(R)[0] > 0
    y = np.random.default_rng(3).multivariate_normal(np.zeros(3), R, 4000)
    frame = pd.DataFrame(
        {"y": y.ravel(), "id": np.repeat(range(4000), 3), "visit": np.tile(places, 4000)}
    )
    fit = quietly(frame, "toep")
    assert fit.converged
    assert fit.residual_corr.to_numpy() == pytest.approx(R, abs=0.06)


def test_bands_are_lags():
    frame = rows([0, 1, 3, 4])
    by_value = quietly(frame, "un", number=2).residual_cov.to_numpy()
    assert (by_value[[2, 3, 3], [1, 1, 0]] == 0).all()
    assert by_value[1, 0] != 0 != by_value[3, 2]
    by_level = fitted(frame, "un", "factor(visit)", number=2).residual_cov.to_numpy()
    assert by_level[2, 1] != 0
    toep = quietly(frame, "toep", number=2)
    assert list(toep.residual_parameters.index) == ["Variance", "TOEP(2)"]
    assert toep.residual_cov.iloc[2, 1] == 0


@pytest.mark.parametrize("structure", ["ad", "adh", "us", "cs", "csh", "hf", "diag"])
def test_steps_say_nothing_where_no_lag_counts(structure):
    frame = rows(GAPS)
    fit = fitted(frame, structure)
    assert fit.llf == fitted(frame.assign(visit=frame["visit"].astype(str)), structure).llf
    declared = pd.Categorical(frame["visit"], categories=range(20))
    assert fit.llf == fitted(frame.assign(visit=declared), structure).llf


def test_fine_steps_are_refused_and_make_no_visits():
    frame = rows([0, 1, 2])
    frame["visit"] = frame["visit"].map({0: 0.0, 1: np.sqrt(2), 2: np.pi})
    for structure in (*BY_LAG, "un"):
        with pytest.raises(ModelError, match=r"no common step.*car1.*sp_pow.*factor\(visit\)"):
            fitted(frame, structure)
    for structure in ("ad", "adh", "us", "cs", "sp_pow"):
        assert fitted(frame, structure).converged
    ranks = fitted(frame.assign(visit=frame["visit"].rank()), "ar1")
    by_level = fitted(frame, "ar1", "factor(visit)")
    assert by_level.residual_parameters["AR(1)"] == pytest.approx(
        fitted(
            frame.assign(visit=frame["visit"].map({0: 0, np.sqrt(2): 1, np.pi: 2})), "ar1"
        ).residual_parameters["AR(1)"]
    )
    assert np.isfinite(ranks.llf)


def test_values_that_differ_by_rounding_are_one_visit():
    frame = rows([0, 1, 2])
    exact = fitted(frame, "us")
    noisy = np.where(frame["visit"] == 1, np.where(frame["id"] % 2, 0.3, 0.1 + 0.2), 0.3)
    frame["visit"] = np.where(frame["visit"] == 1, noisy, 0.3 * frame["visit"])
    for structure in ("us", "ar1"):
        assert fitted(frame, structure).residual_cov.shape == (3, 3)
    assert fitted(frame, "us").llf == exact.llf


# -- levels count one by one, those declared too --------------------------------------------------


def as_declared(frame):
    labels = [str(k) for k in range(9)]
    text = frame["visit"].astype(str)
    enum = pl.from_pandas(frame.drop(columns="visit")).with_columns(
        visit=pl.Series(text.tolist(), dtype=pl.Enum(labels))
    )
    return {
        "pandas integers": frame.assign(visit=pd.Categorical(frame["visit"], range(9))),
        "pandas text": frame.assign(visit=pd.Categorical(text, labels)),
        "pandas ordered": frame.assign(visit=pd.Categorical(text, labels, ordered=True)),
        "pandas backwards": frame.assign(visit=pd.Categorical(text, labels[::-1], ordered=True)),
        "polars Enum": enum,
        "arrow": pa.table(frame.assign(visit=pd.Categorical(text, labels))),
    }


@pytest.mark.parametrize("structure", ORDERED)
def test_levels_that_are_declared_keep_their_place(structure):
    frame = rows(GAPS)
    by_value = quietly(frame, structure)
    for name, declared in as_declared(frame).items():
        fit = fitted(declared, structure)
        assert fit.llf == pytest.approx(by_value.llf, abs=1e-8), name
        assert fit._record.n_covariance_parameters == by_value._record.n_covariance_parameters
    # As random effects too, beside a residual.
    twice = pd.concat([frame, frame.assign(y=frame["y"] + np.sin(np.arange(len(frame))))])
    text = f"y ~ 1 + {structure}(0 + visit | id{', 2' if structure == 'un' else ''})"
    steps = as_declared(twice)
    whole = mlm.lmm(text, steps["pandas text"])
    assert whole.llf == pytest.approx(mlm.lmm(text, steps["polars Enum"]).llf, abs=1e-8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpacingWarning)
        levels = mlm.lmm(text.replace("visit", "factor(visit)"), twice)
    apart = structure not in {"ad", "adh"}
    assert (abs(levels.llf - whole.llf) > 1e-4) == apart


@pytest.mark.parametrize("structure", ["ar1", "ar1h", "toep", "toeph", "arma11"])
def test_random_effects_at_declared_levels_are_those_of_the_likelihood(structure):
    """G with gaps against the residual covariance of the same steps: y is g plus noise."""
    frame = rows(GAPS, n=30, seed=8)
    frame["y"] += np.random.default_rng(2).normal(0, 0.5, len(frame))
    declared = frame.assign(visit=pd.Categorical(frame["visit"], range(9)))
    twice = pd.concat([declared, declared.assign(y=declared["y"] + np.cos(np.arange(len(frame))))])
    fit = mlm.lmm(f"y ~ 1 + {structure}(0 + visit | id)", twice, method="ML")
    G = fit.varcorr["id"].to_numpy()
    y = np.stack([part["y"].to_numpy().reshape(-1, 6) for part in (twice[:180], twice[180:])])
    V = np.kron(np.ones((2, 2)), G) + fit.sigma**2 * np.eye(12)
    both = np.concatenate([y[0], y[1]], axis=1)
    inverse = np.linalg.inv(V)
    mean = (inverse.sum(axis=0) @ both.T).sum() / (30 * inverse.sum())
    expected = 30 * np.linalg.slogdet(2 * np.pi * V)[1]
    expected += np.einsum("ni,ij,nj->", both - mean, inverse, both - mean)
    assert fit.deviance == pytest.approx(expected, rel=1e-9)
    lags, sd = lags_of(GAPS), np.sqrt(np.diag(G))
    C = G / np.outer(sd, sd)
    for lag in np.unique(lags) if structure != "arma11" else [1]:
        assert_allclose(C[lags == lag], C[lags == lag][0], rtol=1e-7)
    if structure.startswith("ar1"):
        assert_allclose(C, C[1, 0] ** lags, rtol=1e-7)


def test_random_effects_say_how_their_levels_count():
    frame = pd.concat([rows(GAPS), rows(GAPS)])
    frame["y"] += np.random.default_rng(6).normal(size=len(frame))
    frame["text"] = "d" + frame["visit"].replace({8: 10}).astype(str)
    frame["date"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(frame["visit"], "D")
    with pytest.warns(SpacingWarning, match=r"'factor\(visit\)' \(0, 1, 3.*factor\(t, levels"):
        by_level = mlm.lmm("y ~ 1 + ar1(0 + factor(visit) | id)", frame)
    with pytest.warns(SpacingWarning, match="factor\\(date\\)"):
        dated = mlm.lmm("y ~ 1 + ar1(0 + factor(date) | id)", frame)
    assert dated.llf == by_level.llf
    with pytest.warns(SpacingWarning, match="order of the alphabet"):
        mlm.lmm("y ~ 1 + ar1(0 + text | id)", frame)
    levels = "y ~ 1 + ar1(0 + factor(visit, levels = c(0, 1, 2, 3, 4, 5, 6, 7, 8)) | id)"
    declared = frame.assign(visit=pd.Categorical(frame["visit"], range(9)))
    by_value = mlm.lmm("y ~ 1 + ar1(0 + visit | id)", declared)
    assert mlm.lmm(levels, frame).llf == by_value.llf != by_level.llf
    # Nothing is said where nothing could be meant otherwise.
    even = frame[frame["visit"].isin([1, 3, 5])]
    mlm.lmm("y ~ 1 + ar1(0 + factor(visit) | id)", even)
    mlm.lmm("y ~ 1 + cs(0 + factor(visit) | id)", frame)


def test_readings_of_integers_agree_or_warn():
    frame = rows(GAPS)
    # What comes back from a file that knows no categories.
    for categories in (range(9), [0, 1, 3, 4, 5, 8]):
        held = frame.assign(visit=pd.Categorical(frame["visit"], categories))
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            as_category, as_number = fitted(held, "ar1"), fitted(frame, "ar1")
        agree = as_category.llf == pytest.approx(as_number.llf)
        # Numbers with gaps always warn; categories where they count otherwise.
        assert len(said) == (1 if agree else 2)
        assert all(issubclass(w.category, SpacingWarning) for w in said)
    even = rows([0, 2, 4])
    held = even.assign(visit=pd.Categorical(even["visit"]))
    assert fitted(held, "ar1").llf == fitted(even, "ar1").llf
    with pytest.warns(SpacingWarning):
        fitted(even.assign(visit=pd.Categorical(even["visit"], range(5))), "ar1")


# -- what is said ---------------------------------------------------------------------------------


def test_both_readings_are_named():
    frame = rows([0, 1, 2, 3, 6]).assign(week=lambda f: 4 * f["visit"])
    with pytest.warns(SpacingWarning) as said:
        fitted(frame, "ar1", "week")
    message = str(said[0].message)
    assert "'week' (0, 4, 8, 12, 24) are not equally spaced" in message
    assert "greatest common step, 4, as steps 0, 1, 2, 3, 6" in message
    assert (
        "steps 0, 1, 2, 3, 4, one from each to the next, write ar1(factor(week) | ...)" in message
    )
    text = frame.assign(week=frame["week"].astype(str).str.zfill(2))
    with pytest.warns(SpacingWarning) as said:
        fitted(text, "toep", "week")
    message = str(said[0].message)
    assert "levels of 'week' (00, 04, 08, 12, 24)" in message
    assert "levels count, 0, 1, 2, 3, 4" in message
    assert "make the column numeric" in message
    assert "toep(factor(week) | ...)" in message


def test_what_is_written_out_is_not_warned_of():
    frame = rows(GAPS)
    by_level = fitted(frame, "ar1", "factor(visit)")
    text = frame.assign(visit=frame["visit"].astype(str))
    assert fitted(text, "ar1", "factor(visit)").llf == by_level.llf
    ranks = frame.assign(visit=np.searchsorted(GAPS, frame["visit"]))
    assert by_level.llf == fitted(ranks, "ar1").llf
    assert by_level.predict(frame).to_numpy() == pytest.approx(by_level.fittedvalues.to_numpy())
    with pytest.raises(DataError, match=r"is over numbers, and factor\(visit\) makes labels"):
        fitted(frame, "sp_exp", "factor(visit)")


def test_the_blame_is_on_the_line_of_the_user():
    frame = rows(GAPS)
    calls = [
        lambda: mlm.lmm("y ~ 1", frame, residual="ar1(visit | id)"),
        lambda: mlm.LMM("y ~ 1", frame, residual="toep(visit | id)"),
        lambda: mlm.compare_structures("y ~ 1", frame, "visit", "id", ("ar1", "toep")),
        lambda: mlm.lmm("y ~ 1", frame, residual="ar1h(visit | id)"),
    ]
    for call in calls:
        with pytest.warns(SpacingWarning) as said:
            call()
        assert len(said) == 1
        assert said[0].filename == __file__
        assert said[0].lineno == inspect.getsourcelines(call)[1]


def test_long_series_with_holes_are_not_warned_of():
    frame = rows(np.delete(np.arange(90), [20, 21, 55]), n=6)
    assert fitted(frame, "ar1").llf == pytest.approx(fitted(frame, "sp_pow").llf, rel=1e-8)


def test_structures_are_compared_in_one_reading():
    frame = rows([0, 1, 2, 3]).assign(visit=lambda f: 2 * f["visit"])
    table = mlm.compare_structures("y ~ 1", frame, "visit", "id", BY_LAG).set_index("structure")
    for structure in BY_LAG:
        ranks = fitted(frame.assign(visit=frame["visit"] // 2), structure)
        assert table.loc[structure, "llf"] == ranks.llf
    uneven = rows(GAPS)
    levels = mlm.compare_structures("y ~ 1", uneven, "factor(visit)", "id")
    assert not any(word.startswith("sp_") for word in levels["structure"])
    ar1 = levels.set_index("structure").loc["ar1", "llf"]
    assert ar1 == fitted(uneven, "ar1", "factor(visit)").llf


# -- times ----------------------------------------------------------------------------------------

MOMENTS = {
    "date": lambda k: dt.date(2024, 2, 26) + dt.timedelta(days=7 * k),
    "datetime": lambda k: dt.datetime(2024, 2, 26, 9, 30) + dt.timedelta(hours=5 * k),
    "span": lambda k: dt.timedelta(minutes=90 * k),
    "time": lambda k: dt.time(8 + k, 30),
}


def columns_of(values):
    """The same moments as every library holds them."""
    objects = pd.Series(values, dtype=object)
    held = {
        "pandas": objects if isinstance(values[0], dt.date | dt.time) else pd.Series(values),
        "objects": objects,
        "polars": pl.Series(values),
        "arrow": pa.array(values),
        "pandas of arrow": pd.Series(values, dtype=pd.ArrowDtype(pa.array(values).type)),
    }
    if isinstance(values[0], dt.datetime):
        held["pandas"] = pd.Series(pd.to_datetime(values))
        held["pandas in seconds"] = pd.Series(pd.to_datetime(values)).astype("datetime64[s]")
        held["with a time zone"] = pd.Series(pd.to_datetime(values)).dt.tz_localize("Asia/Tokyo")
        held["polars in ms"] = pl.Series(values, dtype=pl.Datetime("ms"))
    return held


def with_visit(frame, column):
    if isinstance(column, pl.Series):
        return pl.from_pandas(frame.drop(columns="visit")).with_columns(visit=column)
    if isinstance(column, pa.Array):
        return pa.table(frame.drop(columns="visit")).append_column("visit", column)
    return frame.assign(visit=column.set_axis(frame.index))


@pytest.mark.parametrize("kind", MOMENTS)
@pytest.mark.parametrize("visits", [[0, 1, 2, 3], [0, 1, 2, 5]])
def test_times_count_like_numbers(kind, visits):
    frame = rows(visits, rho=-0.4)
    moments = [MOMENTS[kind](int(k)) for k in frame["visit"]]
    expected = {s: quietly(frame, s).llf for s in ("ar1", "toep", "ar1h")}
    for name, column in columns_of(moments).items():
        for structure, llf in expected.items():
            assert quietly(with_visit(frame, column), structure).llf == llf, (name, structure)
    if visits[-1] == 5:
        with pytest.warns(SpacingWarning, match=r"not equally spaced.*greatest common step, \d"):
            fitted(with_visit(frame, columns_of(moments)["pandas"]), "ar1")


def test_periods_are_of_one_length():
    frame = rows([0, 1, 2, 4])
    months = pd.PeriodIndex(["2024-01", "2024-02", "2024-03", "2024-05"], freq="M")
    expected = quietly(frame, "ar1").llf
    codes = np.searchsorted([0, 1, 2, 4], frame["visit"])
    for held in (pd.Series(months[codes]), pd.Series(months[codes]).astype(object)):
        assert quietly(with_visit(frame, held), "ar1").llf == expected
    # As dates, months are of 31, 29 and 61 days.
    days = months.to_timestamp()[codes]
    by_day = quietly(frame.assign(visit=(days - days[0]).days), "ar1").llf
    assert quietly(with_visit(frame, pd.Series(days)), "ar1").llf == by_day
    assert by_day != pytest.approx(expected, abs=1e-6)


def test_times_to_the_second_have_no_common_step():
    frame = rows([0, 1, 2])
    seconds = np.array([0, 604_801, 1_209_777])[frame["visit"]]
    stamps = pd.Timestamp("2024-01-01") + pd.to_timedelta(seconds, "s")
    with pytest.raises(ModelError, match=r"no common step.*factor\(visit\)"):
        fitted(frame.assign(visit=stamps), "ar1")
    ranks = fitted(frame.assign(visit=stamps), "ar1", "factor(visit)")
    assert ranks.llf == fitted(frame, "ar1").llf


# -- what is asked of a fit -----------------------------------------------------------------------


def test_new_rows_stand_at_the_steps_of_the_fit():
    frame = rows([0, 1, 3, 4], n=20)
    whole = mlm.lmm("y ~ 1", frame.assign(t=frame["visit"] * 0.5), residual="sp_pow(t | id)")
    new = pd.DataFrame({"id": [3, 3, 99], "visit": [2, 6, 1]})
    expected = whole.predict(new.assign(t=new["visit"] * 0.5), conditional=True).to_numpy()
    day = pd.Timestamp("2024-03-01")
    forms = {
        "halves": lambda v: v * 0.5,
        "days": lambda v: day + pd.to_timedelta(v, "D"),
        "declared": lambda v: pd.Categorical(v, range(8)),
    }
    for name, form in forms.items():
        fit = quietly(frame.assign(visit=form(frame["visit"])), "ar1")
        found = fit.predict(new.assign(visit=form(new["visit"])), conditional=True).to_numpy()
        assert found == pytest.approx(expected, rel=1e-6), name
    fit = quietly(frame.assign(visit=frame["visit"] * 0.5), "ar1")
    with pytest.raises(DataError, match=r"not a whole number of steps \(of 0.5\)"):
        fit.predict(new.assign(visit=0.75), conditional=True)
    fit = quietly(frame.assign(visit=day + pd.to_timedelta(frame["visit"], "D")), "ar1")
    with pytest.raises(DataError, match="of another kind"):
        fit.predict(new, conditional=True)
    # A pickled fit keeps the times of its rows.
    kept = pickle.loads(pickle.dumps(fit))
    days = new.assign(visit=day + pd.to_timedelta(new["visit"], "D"))
    assert_allclose(kept.predict(days, conditional=True), expected, rtol=1e-6)
    # Other units of time are the same times.
    coarse = (day + pd.to_timedelta(new["visit"], "D")).astype("datetime64[s]")
    found = fit.predict(new.assign(visit=coarse), conditional=True).to_numpy()
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("unit", [1, 0.5])
def test_visits_between_those_of_the_fit_are_told_by_their_lags(unit):
    frame = rows([0, 1, 3, 4], n=30).assign(visit=lambda f: unit * f["visit"])
    fit = quietly(frame, "toep")
    covariance, variance = fit.residual_cov.to_numpy(), fit.residual_parameters["Variance"]
    of_lag = {0: variance, **{k: fit.residual_parameters[f"TOEP({k + 1})"] for k in (1, 2, 3, 4)}}
    own = frame.loc[frame["id"] == 7, "y"].to_numpy() - fit.params["(Intercept)"]
    across = np.array([of_lag[lag] for lag in (2, 1, 1, 2)])
    new = pd.DataFrame({"id": [7, 7], "visit": [2 * unit, 3 * unit]})
    found = fit.predict(new, conditional=True)
    expected = fit.params["(Intercept)"] + across @ np.linalg.solve(covariance, own)
    assert found[0] == pytest.approx(expected, rel=1e-10)
    assert found[1] == frame.loc[(frame["id"] == 7) & (frame["visit"] == 3 * unit), "y"].item()
    limits = fit.predict(new, conditional=True, interval="prediction")
    assert limits.iloc[0, 1] < expected < limits.iloc[0, 2]
    # A declared level that no row of the fit has is at a step, too.
    declared = frame.assign(visit=pd.Categorical((frame["visit"] / unit).astype(int), range(6)))
    steps = new.assign(visit=pd.Categorical((new["visit"] / unit).astype(int), range(6)))
    again = fitted(declared, "toep").predict(steps, conditional=True)
    assert_allclose(again, found, rtol=1e-9)
    with pytest.raises(DataError, match="was not seen by the fit"):
        fit.predict(new.assign(visit=[5 * unit, 3 * unit]), conditional=True)
    with pytest.raises(DataError, match="was not seen by the fit"):
        quietly(frame, "toeph").predict(new, conditional=True)


def test_covariances_at_points_are_in_the_units_of_the_visits(tmp_path):
    frame = rows([0, 1, 2, 3]).assign(visit=lambda f: 2 * f["visit"])
    fit = fitted(frame, "ar1")
    fit.to_json(tmp_path / "fit.json")
    for held in (fit, mlm.load(tmp_path / "fit.json")):
        at = held.residual_cov_at([0, 4, 10]).to_numpy()
        variance, rho = held.residual_parameters
        assert_allclose(at, variance * rho ** lags_of(np.array([0, 2, 5])), rtol=1e-12)
        assert_allclose(held.residual_cov_at([0, 2]), held.residual_cov.iloc[:2, :2], rtol=1e-12)
        with pytest.raises(DataError, match=r"whole steps of 2.*\[0, 2, 4\]"):
            held.residual_cov_at([0, 3])


def test_covariances_at_visits_that_are_no_numbers_go_by_name(tmp_path):
    frame = rows([0, 3, 6, 12])
    right = quietly(frame, "ar1").residual_cov_at([0, 6, 12]).to_numpy()
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(7 * frame["visit"], unit="D")
    declared = frame.assign(visit=pd.Categorical(frame["visit"], [0, 3, 6, 9, 12]))
    dates = frame.assign(visit=days)
    asked = [pd.Timestamp(2024, 1, 1), pd.Timestamp(2024, 2, 12), pd.Timestamp(2024, 3, 25)]
    for data, points in ((declared, [0, 6, 12]), (declared, ["0", "6", "12"]), (dates, asked)):
        fit = quietly(data, "ar1")
        fit.to_json(tmp_path / "fit.json")
        for held in (fit, mlm.load(tmp_path / "fit.json")):
            found = held.residual_cov_at(points)
            assert_allclose(found, right, rtol=1e-6)
            assert found.index.equals(held.residual_cov.index[[0, 2, 3]])
            assert_allclose(held.residual_cov_at(pd.DataFrame({"visit": points})), right, rtol=1e-6)
    ranked = quietly(frame, "ar1", visit="factor(visit)")
    assert_allclose(ranked.residual_cov_at([0, 12]).iloc[0, 1], ranked.residual_cov.iloc[0, 3])
    fit = quietly(declared, "ar1")
    for wrong in ([0, 9], [0, None], [0, 1]):
        with pytest.raises(DataError, match=r"visits by name, .* is none of 0, 3, 6, 12"):
            fit.residual_cov_at(wrong)
    with pytest.raises(DataError, match=r"points: visits of 'visit' are needed, found \[\]"):
        fit.residual_cov_at([])


def test_products_arms_and_scales_count_alike():
    frame = rows([0, 1, 2, 4], n=30).assign(arm=lambda f: f["id"] % 2)
    scaled = frame.assign(visit=0.1 * frame["visit"])
    declared = frame.assign(visit=pd.Categorical(frame["visit"], range(5)))
    for residual, more in (
        ("ar1(visit | arm / id)", {}),
        ("toep(visit | arm / id)", {}),
        ("ar1(visit | id)", {"residual_scale": "arm"}),
        ("toeph(visit | id)", {"residual_scale": "arm"}),
        ("ar1(visit | id)", {"weights": "w"}),
    ):
        fits = []
        for data in (frame, scaled, declared):
            data = data.assign(w=1.0 + data["arm"])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SpacingWarning)
                fits.append(mlm.lmm("y ~ 1", data, residual=residual, **more))
        assert fits[1].llf == fits[0].llf == fits[2].llf
    two = pd.concat([frame.assign(part=p, y=frame["y"] * s) for p, s in (("a", 1.0), ("b", 2.0))])
    two["y"] += np.random.default_rng(4).normal(size=len(two))
    spread = two.assign(visit=two["visit"] * 7)
    for product in ("us(part) @ ar1(visit | id)", "ar1(visit) @ us(part | id)"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SpacingWarning)
            fit, same = (mlm.lmm("y ~ part", d, residual=product) for d in (two, spread))
        assert fit.llf == same.llf
        rho = fit.residual_parameters["AR(1)"]
        cov = fit.residual_corr
        by = ("a:{}", "a:{}") if product.startswith("us") else ("{}:a", "{}:a")
        far = cov.loc[by[0].format(4), by[1].format(0)]
        assert far == pytest.approx(rho**4)


@pytest.mark.parametrize("structure", BY_LAG)
def test_the_order_of_rows_and_subjects_says_nothing(structure):
    frame = rows(GAPS, n=15)
    mixed = frame.sample(frac=1.0, random_state=3).assign(id=lambda f: 100 - f["id"])
    fit, other = quietly(frame, structure), quietly(mixed, structure)
    assert other.llf == pytest.approx(fit.llf, rel=1e-12)
    assert_allclose(other.residual_cov, fit.residual_cov, rtol=1e-6)


def test_many_visits_with_gaps_go_from_visit_to_visit():
    places = np.delete(np.arange(20), [3, 4, 11])
    frame = rows(places, n=30)
    fit = quietly(frame, "ar1h")
    assert "chain" in fit.certificate.engine
    corr = fit.residual_corr.to_numpy()
    assert_allclose(corr, fit.residual_parameters["ARH(1)"] ** lags_of(places), rtol=1e-8)
    declared = frame.assign(visit=pd.Categorical(frame["visit"], range(20)))
    assert fitted(declared, "ar1h").llf == fit.llf
