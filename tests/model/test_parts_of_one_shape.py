"""Parts of a table that make designs of one structure are built once, and fitted as each alone."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

import mlmfast as mlm
from mlmfast.many_data_sets.data_sets import Frames, Levels

pytestmark = pytest.mark.filterwarnings("ignore::mlmfast.SingularFitWarning")

N_PARTS, N_GROUPS, N_ROWS = 12, 8, 6


def table(seed=5):
    """Studies of one shape, their rows mixed; the groups of each have labels of their own."""
    rng = np.random.default_rng(seed)
    part = np.repeat(np.arange(N_PARTS), N_GROUPS * N_ROWS)
    group = np.tile(np.repeat(np.arange(N_GROUPS), N_ROWS), N_PARTS)
    x = rng.normal(size=part.size)
    effects = rng.normal(size=(N_PARTS, N_GROUPS, 2))
    y = 1.0 + x + effects[part, group, 0] + 0.5 * effects[part, group, 1] * x
    frame = pd.DataFrame(
        {
            "study": part,
            "g": [f"s{p}g{k}" for p, k in zip(part, group, strict=True)],
            "ward": group // 2,
            "x": x,
            "f": np.tile(["a", "b", "c"], part.size // 3),
            "y": y + rng.normal(size=part.size),
        }
    )
    # Rows of the studies among each other, those of one study as they were.
    turn = np.argsort(rng.permutation(part), kind="stable")
    return frame.iloc[np.argsort(turn)].reset_index(drop=True)


@pytest.fixture
def built(monkeypatch):
    """The parts of which a model is built by itself."""
    seen = []
    one = Levels.model

    def model(self, position):
        seen.append(position)
        return one(self, position)

    monkeypatch.setattr(Levels, "model", model)
    return seen


def assert_are_single_fits(batch, formula, frame, **arguments):
    for k, label in enumerate(batch.by["study"]):
        fit = mlm.lmm(formula, frame[frame["study"] == label], **arguments)
        at = [batch.names.index(name) for name in fit.params.index]
        assert batch.llf[k] == fit.llf
        for name in ("params", "bse", "pvalues"):
            assert_array_equal(getattr(batch, name)[k, at], getattr(fit, name).to_numpy())
        assert batch.n_evaluations[k] == fit.certificate.n_evaluations


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ x + (x | g)",
        "y ~ x * f + (1 | g)",
        "log(y + 20) ~ I(x^2) + exp(x / 3) + (1 + x | g)",
        "y ~ x + (1 | ward/g)",
        "y ~ 0 + factor(f) + (0 + x | g)",
    ],
)
@pytest.mark.parametrize("method", ["REML", "ML"])
def test_each_part_is_the_fit_of_its_rows(built, formula, method):
    frame = table()
    batch = mlm.fit_each(formula, frame, by="study", method=method)
    assert len(built) == 1, "one part shows the structure, the others are not built"
    assert_are_single_fits(batch, formula, frame, method=method)


@pytest.mark.parametrize(
    "formula",
    ["y ~ poly(x, 2) + (1 | g)", "y ~ scale(x) + (x | g)", "y ~ (x > 0) + (1 | g)"],
)
def test_what_looks_at_all_rows_of_a_part_is_built_from_these(built, formula):
    frame = table()
    batch = mlm.fit_each(formula, frame, by="study")
    assert set(built) == set(range(N_PARTS))
    assert_are_single_fits(batch, formula, frame)


def unequal_table(seed=11):
    """Studies of other groups and numbers of rows each."""
    rng = np.random.default_rng(seed)
    parts = []
    for part in range(N_PARTS):
        sizes = rng.integers(1, 9, size=rng.integers(5, 60))
        group = np.repeat(np.arange(sizes.size), sizes)
        n, x = group.size, rng.normal(size=group.size)
        effects = rng.normal(size=(sizes.size, 2))
        columns = {
            "study": part,
            "g": [f"s{part}g{k}" for k in group],
            "ward": group // 3,
            "x": x,
            "f": np.tile(["a", "b", "c"], n)[:n],
            "y": 1.0 + x + effects[group, 0] + 0.5 * effects[group, 1] * x + rng.normal(size=n),
        }
        parts.append(pd.DataFrame(columns).sample(frac=1.0, random_state=part))
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize(
    "formula", ["y ~ x + (x | g)", "y ~ x * f + (1 | g)", "y ~ x + f + (1 | ward/g)"]
)
@pytest.mark.parametrize(("method", "ddf"), [("REML", "kenward-roger"), ("ML", "satterthwaite")])
def test_parts_of_other_rows_are_built_once(built, formula, method, ddf):
    frame = unequal_table()
    batch = mlm.fit_each(formula, frame, by="study", method=method, ddf=ddf)
    assert len(built) == 1, "one part shows the structure, the others are not built"
    assert_are_single_fits(batch, formula, frame, method=method, ddf=ddf)
    sizes = frame.groupby("study")
    assert_array_equal(batch.nobs, sizes.size())
    assert_array_equal(
        batch.n_groups["g" if "ward" not in formula else "ward"],
        sizes["g" if "ward" not in formula else "ward"].nunique(),
    )
    assert batch[3].llf == batch.llf[3]


def test_parts_that_differ_are_built_by_themselves(built):
    frame = table()
    rows = {k: np.flatnonzero(frame["study"] == k) for k in range(N_PARTS)}
    frame.loc[rows[1][frame["f"].to_numpy()[rows[1]] == "a"], "f"] = "b"  # lacks a level
    frame.loc[rows[2][:1], "y"] = np.nan  # a row less
    frame.loc[rows[3], "x"] = 1.5  # no slope
    frame.loc[rows[4], "y"] = 2.0  # nothing left
    frame.loc[rows[5][0], "x"] = np.inf
    with pytest.warns(mlm.errors.DifferentContrastsWarning, match="in fit '0' and c - b in '1'"):
        batch = mlm.fit_each("y ~ x + f + (x | g)", frame, by="study")
    assert set(built) == {0, 1, 2, 3, 4, 5}
    good = frame[~frame["study"].isin([3, 4, 5])]
    with pytest.warns(mlm.errors.DifferentContrastsWarning):
        same = mlm.fit_each("y ~ x + f + (x | g)", good, by="study")
    at = [k for k in range(N_PARTS) if k not in {3, 4, 5}]
    assert_array_equal(batch.llf[at], same.llf)
    assert_are_single_fits(same, "y ~ x + f + (x | g)", good)
    for k in (3, 4, 5):
        with pytest.raises(mlm.MlmError) as refusal:
            mlm.lmm("y ~ x + f + (x | g)", frame[frame["study"] == k])
        assert batch.status[k] == str(refusal.value)


def test_tables_of_one_shape_are_built_once(monkeypatch):
    frame = table()
    tables = [own for _, own in frame.groupby("study")]
    tables[4] = tables[4].iloc[:30]
    seen = []
    one = Frames.model
    monkeypatch.setattr(Frames, "model", lambda self, k: seen.append(k) or one(self, k))
    batch = mlm.fit_each("y ~ x + f + (x | g)", tables)
    assert seen == [0, 4]
    for k, own in enumerate(tables):
        fit = mlm.lmm("y ~ x + f + (x | g)", own)
        assert batch.llf[k] == fit.llf
        assert_array_equal(batch.pvalues[k], fit.pvalues.to_numpy())


def test_tables_of_other_types_are_built_by_themselves():
    tables = [own for _, own in table().groupby("study")]
    tables[0] = tables[0].astype({"f": pd.CategoricalDtype(["c", "a", "b"])})
    with pytest.warns(mlm.errors.DifferentContrastsWarning):
        batch = mlm.fit_each("y ~ f + (1 | g)", tables)
    for k, own in enumerate(tables):
        fit = mlm.lmm("y ~ f + (1 | g)", own)
        at = [batch.names.index(name) for name in fit.params.index]
        assert_array_equal(batch.params[k, at], fit.params.to_numpy())


def test_a_single_fit_can_be_rebuilt_and_tested():
    frame = table()
    batch = mlm.fit_each("y ~ x + f + (x | g)", frame, by="study", ddf="kenward-roger")
    fit = mlm.lmm("y ~ x + f + (x | g)", frame[frame["study"] == 7], ddf="kenward-roger")
    assert batch[7].llf == fit.llf
    np.testing.assert_allclose(batch.pvalues[7], fit.pvalues, rtol=1e-9)
    assert_array_equal(batch.tests("x = 1").statistic[7], fit.contrast("x = 1").statistic)


@pytest.mark.parametrize("ddf", ["asymptotic", 7.5])
def test_degrees_of_freedom_that_go_by_no_rows_read_none(built, ddf):
    frame = table()
    frame.loc[(frame["study"] == 3) & (frame["f"] == "c"), "f"] = "a"
    frame.loc[frame["study"] == 5, "y"] = 1.0
    batch = mlm.fit_each("y ~ x + f + (1 | g)", frame, by="study", ddf=ddf)
    read = len(built)
    tested = batch.pvalues
    # The one that lacks levels of a factor has a design of its own.
    assert set(built[read:]) <= {3}
    assert np.isnan(tested[5]).all()
    whole = [k for k in range(N_PARTS) if k not in (3, 5)]
    assert (batch.df[whole] == (np.inf if ddf == "asymptotic" else ddf)).all()
    for k in (*whole, 3):
        fit = mlm.lmm("y ~ x + f + (1 | g)", frame[frame["study"] == k], ddf=ddf)
        at = [batch.names.index(name) for name in fit.params.index]
        assert_array_equal(tested[k, at], fit.pvalues.to_numpy())
        assert_array_equal(batch.df[k, at], fit.df.to_numpy())
        assert np.isnan(np.delete(batch.df[k], at)).all()
