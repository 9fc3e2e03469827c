"""Generators and methods of the tests: at the top of a module, so that workers can import them."""

import numpy as np

import mlmfast as mlm


def trial(condition, rng):
    """Half of the clusters are treated; one covariate that is drawn anew."""
    g = np.repeat(np.arange(condition["n_groups"]), 4)
    x = rng.normal(size=g.size)
    effects = condition.get("sd", 1.0) * rng.normal(size=condition["n_groups"])
    y = 0.5 * (g % 2) + 0.2 * x + effects[g] + rng.normal(size=g.size)
    return {"y": y, "t": g % 2.0, "x": x, "g": g}


def fixed_rows(condition, rng):
    """The same rows in all replicates, with other responses."""
    g = np.repeat(np.arange(condition["n_groups"]), 4)
    effects = rng.normal(size=condition["n_groups"])
    return {"y": 0.5 * (g % 2) + effects[g] + rng.normal(size=g.size), "t": g % 2.0, "g": g}


def least_squares(data, condition):
    """Differences of means with the standard error of independent rows."""
    treated = data["t"] == 1
    a, b = data["y"][treated], data["y"][~treated]
    df = len(a) + len(b) - 2
    variance = (a.var(ddof=1) * (len(a) - 1) + b.var(ddof=1) * (len(b) - 1)) / df
    return {"t": (a.mean() - b.mean(), np.sqrt(variance * (1 / len(a) + 1 / len(b))), df)}


METHODS = {"REML": mlm.Method("y ~ t + x + (1 | g)"), "OLS": least_squares}


def small(**changes):
    """A study of a second."""
    arguments = {
        "conditions": {"n_groups": [6, 10], "sd": [0.0, 1.0]},
        "generate": trial,
        "methods": METHODS,
        "estimands": {"t": 0.5},
        "n_replicates": 25,
        "seed": 3,
        "chunk": 10,
    }
    return mlm.Study(**{**arguments, **changes})


def files(folder):
    """The content of every file below a folder."""
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}
