"""Small simulated models whose every matrix is written down by hand, for the oracle."""

from functools import cache, cached_property

import numpy as np
import pandas as pd

from . import dense

INTERCEPT = "(Intercept)"

# Random part -> for each grouping factor its blocks of correlated effects.
MODELS = {
    "": {},
    "(1 | a)": {"a": [[INTERCEPT]]},
    "(x | a)": {"a": [[INTERCEPT, "x"]]},
    "(x || a)": {"a": [[INTERCEPT], ["x"]]},
    "(0 + x | a)": {"a": [["x"]]},
    "(0 + f | a)": {"a": [["fp", "fq"]]},
    "(1 | a) + (0 + x + z | a)": {"a": [[INTERCEPT], ["x", "z"]]},
    "(1 | a:b)": {"a:b": [[INTERCEPT]]},
    "(1 | a/b)": {"a": [[INTERCEPT]], "a:b": [[INTERCEPT]]},
    "(x | a) + (1 | a:b)": {"a": [[INTERCEPT, "x"]], "a:b": [[INTERCEPT]]},
    "(1 | a) + (x | a:b)": {"a": [[INTERCEPT]], "a:b": [[INTERCEPT, "x"]]},
    "(x | a/b)": {"a": [[INTERCEPT, "x"]], "a:b": [[INTERCEPT, "x"]]},
    "(1 | a/b/c)": {"a": [[INTERCEPT]], "a:b": [[INTERCEPT]], "a:b:c": [[INTERCEPT]]},
    "(1 | a) + (1 | b:f)": {"a": [[INTERCEPT]], "b:f": [[INTERCEPT]]},
    "(x | a) + (1 | b:c)": {"a": [[INTERCEPT, "x"]], "b:c": [[INTERCEPT]]},
    "(x || a) + (1 | a:f) + (1 | b:c)": {
        "a": [[INTERCEPT], ["x"]],
        "a:f": [[INTERCEPT]],
        "b:c": [[INTERCEPT]],
    },
}
FIXED = "y ~ x + z"


def formula_of(random_part):
    return f"{FIXED} + {random_part}" if random_part else FIXED


@cache
def nested_frame(seed=21, n=240):
    """Rows in random order over 10 levels of a, 3 of b in each, 2 of c in each; unbalanced."""
    rng = np.random.default_rng(seed)
    a, b, c = rng.integers(0, 10, n), rng.integers(0, 3, n), rng.integers(0, 2, n)
    x, z, f = rng.normal(size=n), rng.uniform(-1, 1, n), rng.integers(0, 2, n)
    intercept = rng.normal(0, 1.5, 10)[a] + rng.normal(0, 1.2, 30)[3 * a + b]
    intercept += rng.normal(0, 1.0, 60)[6 * a + 2 * b + c] + rng.normal(0, 1, (10, 2))[a, f]
    slope = 2 + rng.normal(0, 1, 10)[a] + rng.normal(0, 0.8, 30)[3 * a + b]
    y = 1 + intercept + slope * x + (rng.normal(0, 1.5, 10)[a] - 1) * z + rng.normal(0, 0.7, n)
    labels = {
        name: [f"{name}{k}" for k in codes] for name, codes in zip("abc", (a, b, c), strict=True)
    }
    f_labels = np.array(["p", "q"])[f]
    weights, offset = rng.uniform(0.5, 2, n), rng.normal(size=n)
    return pd.DataFrame(
        labels | {"f": f_labels, "x": x, "z": z, "w": weights, "off": offset, "y": y}
    )


def group_labels(frame, group):
    """The label of each row's level: `a1:b2` for the factor `a:b`."""
    return frame[group.split(":")].agg(":".join, axis=1).to_numpy()


def effect_columns(frame, names):
    values = {INTERCEPT: np.ones(len(frame)), "x": frame["x"], "z": frame["z"]}
    values |= {f"f{level}": frame["f"] == level for level in "pq"}
    return np.column_stack([np.asarray(values[name], dtype=float) for name in names])


class Oracle:
    """The dense matrices of a model at the estimates of a fit of it."""

    def __init__(self, fit, frame, random_part, *, method="REML", weights=None, offset=None):
        self.fit, self.frame, self.blocks, self.method = fit, frame, MODELS[random_part], method
        self.weights = None if weights is None else frame[weights].to_numpy()
        self.offset = np.zeros(len(frame)) if offset is None else frame[offset].to_numpy()
        self.y = frame["y"].to_numpy() - self.offset
        self.X = effect_columns(frame, [INTERCEPT, "x", "z"])

    @cached_property
    def terms(self):
        """One oracle term per block, by group."""
        return {group: self._terms_of(group, blocks) for group, blocks in self.blocks.items()}

    def _terms_of(self, group, blocks):
        codes = np.unique(group_labels(self.frame, group), return_inverse=True)[1]
        G = self.fit.varcorr[group]
        return [
            dense.Term(effect_columns(self.frame, names), G.loc[names, names].to_numpy(), codes)
            for names in blocks
        ]

    @cached_property
    def all_terms(self):
        return [term for terms in self.terms.values() for term in terms]

    @cached_property
    def relative_terms(self):
        """The same with G / sigma^2."""
        return [term.with_covariance(term.G / self.fit.scale) for term in self.all_terms]

    @cached_property
    def R(self):
        return dense.residual_covariance(self.fit.scale, len(self.y), self.weights)

    @cached_property
    def V(self):
        return dense.marginal_covariance(self.all_terms, self.R)
