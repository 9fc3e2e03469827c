"""Residual covariances over visits: sums by pattern of visits give the fit of the rows."""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.errors import DataError, ModelError

from .data import in_parts, relative

FORMULA = "y ~ arm * visit + base + x"
STRUCTURES = (
    "us(visit | id)", "toep(visit | id)", "ar1h(week | id)", "cs(visit | arm / id)",
    "us(visit | arm / id)", "ad(visit | id)", "diag(visit | id)",
)  # fmt: skip
TO_THE_END = {"tolerance": 1e-18}


@pytest.fixture(scope="module")
def data():
    """120 subjects at up to four visits, in order; a seventh of the rows missing."""
    rng = np.random.default_rng(1)
    n, week = 120, np.tile(np.arange(4), 120)
    subject = np.repeat(np.arange(n), 4)
    scale = np.array([1.0, 1.2, 1.5, 2.0])
    covariance = 0.5 ** np.abs(np.subtract.outer(range(4), range(4))) * np.outer(scale, scale)
    noise = rng.normal(size=(n, 4)) @ np.linalg.cholesky(covariance).T
    frame = pd.DataFrame(
        {
            "id": [f"s{k:03d}" for k in subject],
            "week": week,
            "visit": [f"V{k}" for k in week],
            "arm": np.where(subject % 3 == 0, "A", "B"),
            "base": 40.0 + rng.normal(size=n)[subject],
            "x": rng.normal(size=4 * n),
        }
    )
    frame["y"] = 50.0 + 0.3 * week + 0.5 * frame.base + noise.ravel()
    return frame[rng.random(4 * n) > 0.15].reset_index(drop=True)


@pytest.fixture(scope="module", params=STRUCTURES)
def pair(request, data):
    expected = mlm.lmm(FORMULA, data, residual=request.param, options=TO_THE_END)
    return expected, mlm.reduce(FORMULA, in_parts(data, 47), residual=request.param)


def test_the_fit_is_that_of_the_rows(pair, tmp_path):
    expected, reduction = pair
    path = tmp_path / "visits.arrow"
    reduction.save(path)
    for own in (reduction, mlm.load_reduction(path)):
        fit = own.fit(options=TO_THE_END)
        assert fit.nobs == expected.nobs
        assert own.n_groups == fit.n_groups == expected.n_groups
        assert abs(fit.llf - expected.llf) < 1e-12 * abs(expected.llf)
        assert relative(fit.params, expected.params, 1e-1) < 1e-12
        assert relative(fit.bse, expected.bse) < 1e-12
        assert relative(fit.df, expected.df) < 1e-10
        assert relative(fit.residual_parameters, expected.residual_parameters, 1e-2) < 1e-9


def test_tests_are_those_of_the_rows(pair):
    expected, reduction = pair
    fit = reduction.fit(options=TO_THE_END)
    for ddf in ("kenward-roger", "kenward-roger-2009", "between-within", "residual"):
        ours, theirs = (f.contrast(np.eye(len(f.params))[-1], ddf=ddf) for f in (fit, expected))
        assert relative([ours.df, ours.se], [theirs.df, theirs.se]) < 1e-9
    for kind in (1, 2, 3):
        ours, theirs = (f.anova(type=kind) for f in (fit, expected))
        numbers = [c for c in theirs.columns if c != "Pr(>F)"]
        numbers = [c for c in numbers if np.issubdtype(theirs[c].dtype, np.number)]
        assert relative(ours[numbers], theirs[numbers], 1e-2) < 1e-7
    ours, theirs = (
        pd.DataFrame(f.emmeans("arm", by="visit").to_frame()).select_dtypes("number")
        for f in (fit, expected)
    )
    assert relative(ours, theirs, 1e-1) < 1e-9
    assert "Scaled residuals" not in str(fit.summary())


def test_few_subjects_stand_for_a_pattern(data):
    """With the columns 1, x and y: of x and y at q visits, 2 q + 1 subjects of q rows."""
    whole = data.groupby("id").filter(lambda rows: len(rows) == 4)
    many = pd.concat([whole.assign(id=whole.id + str(k), x=whole.x + k, y=whole.y - k)
                      for k in range(4)])  # fmt: skip
    assert mlm.reduce("y ~ x", [many], residual="us(visit | id)").n_rows == 9 * 4


def test_a_subject_may_go_on_in_the_next_part(data):
    expected = mlm.lmm(FORMULA, data, residual="us(visit | id)", options=TO_THE_END)
    for size in (1, 2, 5, 1000):
        some = data[:45] if size == 1 else data
        if size == 1:
            expected_of_some = mlm.lmm("y ~ x", some, residual="cs(visit | id)", options=TO_THE_END)
            fit = mlm.reduce("y ~ x", in_parts(some, 1), residual="cs(visit | id)").fit(
                options=TO_THE_END
            )
            assert relative(fit.bse, expected_of_some.bse) < 1e-12
            continue
        fit = mlm.reduce(FORMULA, in_parts(data, size), residual="us(visit | id)").fit(
            options=TO_THE_END
        )
        assert relative(fit.bse, expected.bse) < 1e-12


def test_places_are_merged(data):
    levels = {"arm": ["A", "B"], "visit": ["V0", "V1", "V2", "V3"]}
    expected = mlm.lmm(FORMULA, data, residual="us(visit | id)", options=TO_THE_END)
    sites = [
        mlm.reduce(FORMULA, [part], residual="us(visit | id)", levels=levels, labels=labels)
        for part, labels in zip(
            [data[data.id < "s060"], data[data.id >= "s060"]], (True, True), strict=True
        )
    ]
    fit = (sites[1] + sites[0]).fit(options=TO_THE_END)
    assert relative(fit.bse, expected.bse) < 1e-12
    hidden = [
        mlm.reduce(FORMULA, [part], residual="us(visit | id)", levels=levels, labels=False)
        for part in (data[data.id < "s060"], data[data.id >= "s060"])
    ]
    merged = hidden[0] + hidden[1]
    assert b"s017" not in merged.to_bytes()
    assert merged.n_groups == expected.n_groups
    assert relative(merged.fit(options=TO_THE_END).bse, expected.bse) < 1e-12


def test_subjects_that_are_scattered_are_refused(data):
    scattered = data.sort_values("week", kind="stable")
    with pytest.raises(DataError, match=r"'s0.*' has rows in several parts.*sort the data by"):
        mlm.reduce(FORMULA, in_parts(scattered, 100), residual="us(visit | id)")
    twice = pd.concat([data, data[10:11]]).sort_values("id", kind="stable")
    with pytest.raises(DataError, match="has two rows of one visit"):
        mlm.reduce(FORMULA, [twice], residual="us(visit | id)")
    moved = data.assign(arm=np.where(data.index == 41, "A", data.arm))
    moved.loc[42, "arm"] = "B"
    assert moved.id[41] == moved.id[42]
    with pytest.raises(DataError, match="rows in two arms"):
        mlm.reduce(FORMULA, [moved], residual="us(visit | arm / id)")


def test_what_has_no_sums_by_pattern_is_refused(data):
    with pytest.raises(ModelError, match=r"beside random effects.*fit the rows"):
        mlm.reduce("y ~ x + (1 | arm)", [data], residual="us(visit | id)")
    with pytest.raises(ModelError, match="beside weights"):
        mlm.reduce("y ~ arm", [data], residual="us(visit | id)", weights="x")
    with pytest.raises(DataError, match="min_cluster_size goes with independent"):
        mlm.reduce("y ~ x", [data], residual="us(visit | id)", min_cluster_size=9)
    fit = mlm.reduce("y ~ x", [data], residual="us(visit | id)").fit()
    with pytest.raises(ModelError, match="the rows themselves are needed"):
        fit.resid("scaled")
    with pytest.raises(ModelError, match="goes by single subjects"):
        fit.robust("CR0")
    with pytest.raises(ModelError, match="likelihood by theta is that of independent residuals"):
        mlm.reduce("y ~ x", [data], residual="us(visit | id)").deviance([1.0])


@pytest.mark.parametrize("order", ["by subject", "by visit", "backwards"])
@pytest.mark.parametrize(
    "formula", ["y ~ arm * visit", "y ~ week + base:arm + x", "y ~ x", "y ~ 0 + visit:arm"]
)
def test_columns_by_arm_and_visit_are_those_of_the_rows(data, formula, order):
    """They are not made row by row; rows of a subject stand in any order in a part."""
    own = {
        "by subject": data,
        "by visit": data.sort_values(["week", "id"]),
        "backwards": data[::-1],
    }[order]
    residual = "cs(visit | arm / id)"
    expected = mlm.lmm(formula, data, residual=residual, options=TO_THE_END)
    parts = [own] if order == "by visit" else in_parts(own, 101)
    fit = mlm.reduce(formula, parts, residual=residual).fit(options=TO_THE_END)
    assert abs(fit.llf - expected.llf) < 1e-12 * abs(expected.llf)
    assert relative(fit.params, expected.params, 1e-1) < 1e-11
    assert relative(fit.bse, expected.bse) < 1e-11


def test_an_infinite_column_by_visit_names_its_part(data):
    late = data[data.week > 0].assign(id=lambda d: "first " + d.id)
    wrong = "frame 2: log\\(week\\) is not finite in 100 rows"
    with pytest.raises(DataError, match=wrong):
        mlm.reduce("y ~ log(week)", [late, data], residual="us(week | id)")
