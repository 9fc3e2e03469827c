"""Marginal means, contrasts and joint tests do not depend on the order of levels or the coding."""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm

from ..inference.test_term_hypotheses import CODINGS, factors_of, ordered, unbalanced

pytestmark = pytest.mark.filterwarnings("ignore::mlmfast.errors.AliasedWarning")

FORMULAS = (
    "a + b + later",
    "a * b + x",
    "a / within",
    "ofa + a * b",
    "x * a + later",
    "b * later",
    "0 + a + b",
)
NUMBERS = ["emmean", "estimate", "SE", "df", "NumDF", "F value", "DenDF"]


def by_label(frame, found):
    labels = [name for name in frame.columns if frame[name].dtype.kind not in "fi"]
    kept = frame.set_index(labels)[[name for name in NUMBERS if name in frame]]
    kept.index = [str(label) for label in kept.index]
    found.append(kept.sort_index())


def tables(data, formula, coding):
    fit = mlm.lmm(f"y ~ {formula} + (1 | g)", data, contrasts=coding)
    own = factors_of(formula)
    found = []
    for specs in (own[0], own[:2]):
        for weights in ("equal", "proportional", "outer", "cells", "flat"):
            means = fit.emmeans(specs, weights=weights)
            by_label(means.frame, found)
            by_label(means.contrast("eff", adjust="none").frame, found)
    for by in (None, own[0]):
        by_label(mlm.joint_tests(fit, by=by, ddf="kenward-roger").frame, found)
    return found


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("seed", [3, 11])
def test_means_and_joint_tests(formula, seed):
    random, data = np.random.default_rng(seed), unbalanced(seed)
    own = factors_of(formula)
    first = tables(data, formula, None)
    assert any(table.notna().all(axis=1).any() for table in first)
    for _ in range(2):
        moved = data
        for name in own:
            moved = ordered(moved, name, random.permutation(data[name].unique()))
        coding = dict(zip(own, random.choice(CODINGS, len(own)).tolist(), strict=True))
        for found, expected in zip(tables(moved, formula, coding), first, strict=True):
            pd.testing.assert_frame_equal(found, expected, rtol=1e-5, atol=1e-8)


def test_predictions_of_estimable_rows():
    random, data = np.random.default_rng(1), unbalanced(3)
    new = pd.DataFrame([(a, b) for a in data["a"].unique() for b in data["b"].unique()])
    new = new.set_axis(["a", "b"], axis=1)
    expected = None
    for _ in range(3):
        moved = data
        for name in ("a", "b"):
            moved = ordered(moved, name, random.permutation(data[name].unique()))
        coding = dict(zip("ab", random.choice(CODINGS, 2).tolist(), strict=True))
        fit = mlm.lmm("y ~ a * b + (1 | g)", moved, contrasts=coding)
        with pytest.warns(mlm.NonEstimableWarning):
            found = fit.predict(new, ranef=False)
        means = fit.emmeans(["a", "b"]).frame.set_index(["a", "b"])["emmean"]
        np.testing.assert_allclose(found, means.loc[list(zip(new["a"], new["b"], strict=True))])
        expected = found if expected is None else expected
        np.testing.assert_allclose(found, expected, rtol=1e-6)
