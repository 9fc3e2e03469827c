"""A structure answers for itself: a copy of it under another keyword is the same to everybody."""

import itertools

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.covariance import STRUCTURES
from mlmfast.inference.comparison.nested import are_nested, containing, space_of

KINDS = sorted({kind.keyword: kind for kind in STRUCTURES.values()}.items())
# Those that are complete without a number or matrices.
LEVELS = [
    word
    for word, kind in KINDS
    if kind.needs == "levels" and word not in {"lin", "fa", "un"} and kind.for_residuals
]
RANDOM = [word for word, kind in KINDS if kind.for_random_effects]
WEEKS = np.array([0.0, 2.0, 4.0, 8.0, 10.0])


@pytest.fixture
def copies():
    """Every structure once more, as `copied_...`."""
    for word, kind in KINDS:
        type(f"Copied{kind.__name__}", (kind,), {"keyword": f"copied_{word}", "aliases": ()})
    yield
    for word, _ in KINDS:
        del STRUCTURES[f"copied_{word}"]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(8)
    n, k = 24, len(WEEKS)
    y = rng.normal(size=(n, 1)) + 0.5 * rng.normal(size=(n, k)).cumsum(axis=1)
    frame = pd.DataFrame(
        {
            "y": (y + rng.normal(size=(n, k))).ravel(),
            "id": np.repeat(np.arange(n), k),
            "site": np.repeat(np.arange(n) // 3, k),
            "week": np.tile(WEEKS, n),
            "depth": rng.uniform(size=n * k),
        }
    )
    frame["t"] = frame["week"].astype(int).astype(str).str.zfill(2)
    return frame.drop(index=[3, 17, 58])


def numbers_of(fit):
    parts = [np.array([fit.llf, fit.deviance]), fit.params, fit.bse, fit.df, fit.resid("scaled")]
    if fit._record.residual is not None:
        parts += [fit.residual_parameters, *fit._record.residual.covariances]
    parts += [term.covariance.ravel() for term in fit._record.terms]
    parts += [term.parameters for term in fit._record.terms]
    return np.concatenate([np.ravel(np.asarray(part, dtype=float)) for part in parts])


def fitted(data, formula="y ~ week", **arguments):
    return mlm.lmm(formula, data, method="ML", **arguments)


quiet = pytest.mark.filterwarnings("ignore::UserWarning")


@quiet
@pytest.mark.parametrize("word", [word for word, kind in KINDS if kind.for_residuals])
def test_a_copy_gives_the_same_residual_covariance_to_the_bit(word, data, copies):
    visit = "week, depth" if word == "sp_powa" else "week"
    number = ", 2" if word in {"un", "fa"} else ""
    lin = {"lin": [np.eye(5), np.ones((5, 5))]} if word == "lin" else {}
    found = [
        fitted(data, residual=f"{w}({visit} | id{number})", **lin) for w in (word, f"copied_{word}")
    ]
    assert (numbers_of(found[0]) == numbers_of(found[1])).all()
    assert words_of(found[0]) == words_of(found[1])


@quiet
@pytest.mark.parametrize("word", LEVELS)
def test_a_copy_is_the_same_beside_random_effects_and_in_products(word, data, copies):
    two = data.assign(part=np.where(np.arange(len(data)) % 2, "a", "b"))
    two = pd.concat(
        [two.assign(part=p, y=two["y"] + s) for p, s in (("a", 0), ("b", two["depth"]))]
    )
    for residual in ("{}(week | id)", "us(part) @ {}(week | id)", "{}(week) @ us(part | id)"):
        rows = two if "@" in residual else data
        if "us(part) @" in residual and word == "hf":
            continue
        found = [
            fitted(rows, "y ~ 1 + (1 | site)", residual=residual.format(w))
            for w in (word, f"copied_{word}")
        ]
        assert (numbers_of(found[0]) == numbers_of(found[1])).all()


@quiet
@pytest.mark.parametrize("word", RANDOM)
def test_a_copy_gives_the_same_random_effects_to_the_bit(word, data, copies):
    number = ", 2" if word in {"un", "fa"} else ""
    rows = data[data["week"] < 8]
    rows = pd.concat([rows, rows.assign(y=rows["y"] + rows["depth"])])
    level = "factor(week)" if STRUCTURES[word].needs == "coordinates" else "t"
    found = [
        fitted(rows, f"y ~ 1 + {w}(0 + {level} | site{number})") for w in (word, f"copied_{word}")
    ]
    assert (numbers_of(found[0]) == numbers_of(found[1])).all()
    # Reports ask for kinds, too.
    assert words_of(found[0]) == words_of(found[1])


def words_of(fit):
    """What a summary says, whatever the width of its columns and the time it took."""
    text = str(fit.summary()).replace("copied_", "")
    return [word for word in text.split() if word.strip("-=\u2500")]


def test_copies_are_nested_as_the_originals_are(copies):
    words = [word for word, _ in KINDS]
    for small, large in itertools.product(["", *words], words):
        answers = {
            space_of(b) in containing(a) or space_of(a) == space_of(b)
            for a in ({small, f"copied_{small}"} if small else {""})
            for b in (large, f"copied_{large}")
        }
        assert len(answers) == 1


@quiet
def test_fits_of_copies_are_nested_as_the_originals_are(data, copies):
    words = ("homdiag", "ar1", "toep", "toeph", "us", "cs")
    fits = {
        w: fitted(data, residual=f"{w}(week | id)")
        for word in words
        for w in (word, f"copied_{word}")
    }
    for small, large in itertools.product(words, words):
        expected = are_nested(fits[small], fits[large])
        assert are_nested(fits[f"copied_{small}"], fits[large]) == expected
        assert are_nested(fits[small], fits[f"copied_{large}"]) == expected
    assert are_nested(fits["ar1"], fits["copied_toeph"])
    assert not are_nested(fits["toep"], fits["copied_ar1"])


def test_sets_of_matrices_have_names_of_their_own():
    # A structure made from another says what it is itself.
    spaces = [kind.space for _, kind in KINDS]
    assert len(set(spaces)) == len(spaces)
    assert {name for _, kind in KINDS for name in kind.contained_in} <= set(spaces)
