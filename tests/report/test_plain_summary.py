"""The text of small fits of the usual kind against that of all others."""

import numpy as np
import pandas as pd
import pytest

import mlmfast as mlm
from mlmfast.report.plain_summary import plain_summary
from mlmfast.report.summary import _summary_text

PLAIN = [
    "y ~ x + (x | g)",
    "y ~ x + (1 | g)",
    "y ~ 1 + (1 | g)",
    "y ~ x + f + x:z + (1 | g)",
    "y ~ x + z + f + (z | g)",
    "y ~ 0 + f + (1 | g)",
    "y ~ x + (1 + z | f:g)",
]


def data_of(seed, unit=1.0, origin=0.0, spread=1.0, unequal=True):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 9, 24) if unequal else np.full(24, 4)
    g = np.repeat(np.arange(24), sizes)
    x, z = rng.normal(size=(2, len(g)))
    effects = rng.normal(size=(2, 24))[:, g]
    y = origin + x + spread * (effects[0] + 0.7 * effects[1] * (x + z)) + rng.normal(size=len(g))
    f = np.array(list("abc"))[g % 3]
    labels = np.array([f"s{k}" for k in g])
    return pd.DataFrame({"y": unit * y, "x": 2000.0 + x, "z": z, "f": f, "g": labels})


@pytest.mark.filterwarnings("ignore")  # some are singular
@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("formula", PLAIN)
def test_both_ways_to_the_text_agree_letter_by_letter(formula, method):
    units = [(1.0, 0.0), (1e-7, 1e4), (3e8, -1e3), (1.0, 1e6)]
    taken = 0
    for seed, (unit, origin) in enumerate(units):
        for spread in (0.5, 2.0, 20.0):
            data = data_of(seed, unit, origin, spread, unequal=seed % 2 == 0)
            data.loc[seed * 3 : seed * 4, "y"] = np.nan
            fit = mlm.lmm(formula, data, method=method)
            text = plain_summary(fit)
            assert text is None or text == _summary_text(fit)
            taken += text is not None
    assert taken > 6


def test_text_is_the_same_before_and_after_the_record_is_made():
    fit = mlm.lmm("y ~ x + (x | g)", data_of(1))
    before = str(fit.summary())
    assert "_record" not in fit.__dict__
    assert np.isfinite(fit.params).all()
    assert plain_summary(fit) is None
    assert str(fit.summary()) == before


def _renamed(**names):
    return data_of(3).rename(columns=names)


OTHERS = {
    "weights": lambda d: mlm.lmm("y ~ x + (1 | g)", d.assign(w=1.0 + d.x % 1), weights="w"),
    "offset": lambda d: mlm.lmm("y ~ x + offset(z) + (1 | g)", d),
    "offset given": lambda d: mlm.lmm("y ~ x + (1 | g)", d, offset="z"),
    "no random effects": lambda d: mlm.lmm("y ~ x", d),
    "two factors": lambda d: mlm.lmm("y ~ x + (1 | g) + (1 | f:g:z)", d.assign(z=d.z > 0)),
    "uncorrelated": lambda d: mlm.lmm("y ~ x + (z || g)", d),
    "structured": lambda d: mlm.lmm("y ~ x + csh(1 + z | g)", d),
    "three effects": lambda d: mlm.lmm("y ~ x + (x + z | g)", d),
    "residual structure": lambda d: mlm.lmm(
        "y ~ x", d.assign(t=d.groupby("g").cumcount()), residual="ar1(t | g)"
    ),
    "residual scale": lambda d: mlm.lmm("y ~ x + (1 | g)", d, residual_scale="f"),
    "known relationships": lambda d: mlm.lmm(
        "y ~ x + (1 | g)", d, cov={"g": np.eye(24) + 0.1 * np.ones((24, 24))}
    ),
    "other degrees of freedom": lambda d: mlm.lmm("y ~ x + (1 | g)", d, ddf="kenward-roger"),
    "z tests": lambda d: mlm.lmm("y ~ x + (1 | g)", d, ddf="asymptotic"),
    "from arrays": lambda d: mlm.LMM.from_arrays(d.y, np.ones((len(d), 1)), groups=d.g).fit(),
    "letters beyond ASCII": lambda d: mlm.lmm("y ~ größe + (1 | g)", _renamed(x="größe")),
    "a formula in two lines": lambda d: mlm.lmm("y ~ x +\n (1 | g)", d),
    "a name in two lines": lambda d: mlm.lmm("y ~ `a\nb` + (1 | g)", _renamed(x="a\nb")),
    "a long formula": lambda d: mlm.lmm(f"y ~ {'x' * 70} + (1 | g)", _renamed(x="x" * 70)),
    "a singular covariance": lambda d: mlm.lmm(
        "v ~ 1 + (1 | g)", d.assign(v=d.groupby("g").cumcount() % 2)
    ),
    "many rows": lambda d: mlm.lmm("y ~ x + (1 | g)", pd.concat([d] * 60, ignore_index=True)),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", OTHERS)
def test_other_fits_have_the_text_of_their_record(kind):
    fit = OTHERS[kind](data_of(3))
    assert plain_summary(fit) is None
    assert str(fit.summary()) == _summary_text(fit)
