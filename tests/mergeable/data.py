"""Rows in parts, and fits of them in memory and reduced."""

import numpy as np
import pandas as pd


def rows(n=1500, n_groups=40, seed=1):
    """Rows with factors, a covariate far from 0, groups of all kinds, weights, missing values."""
    rng = np.random.default_rng(seed)
    g = rng.integers(0, n_groups, n)
    unit = g * 5 + rng.integers(0, 3, n)
    data = pd.DataFrame(
        {
            "x": 1e6 + rng.normal(size=n),
            "t": rng.integers(0, 9, n).astype(float),
            "f": rng.choice(["c", "a", "b"], n),
            "h": rng.choice(["u", "v"], n),
            "g": [f"g{k}" for k in g],
            "unit": unit,
            "rater": rng.integers(0, 4, n),
            "w": rng.uniform(0.5, 2.0, n),
            "o": rng.normal(size=n),
        }
    )
    data["y"] = (
        5.0
        + (data.x - 1e6) * (1.0 + 0.3 * rng.normal(size=n_groups)[g])
        + (data.f == "a") * 0.4
        + data.t * (0.1 + 0.2 * rng.normal(size=n_groups)[g])
        + rng.normal(size=n_groups)[g]
        + 0.7 * rng.normal(size=unit.max() + 1)[unit]
        + 0.5 * rng.normal(size=4)[data.rater]
        + rng.normal(size=n)
    )
    data.loc[5, "y"] = np.nan
    data.loc[[77, 400], "f"] = None
    return data


def in_parts(data, size=333):
    """Consecutive rows; clusters are split over them."""
    return [data[first : first + size] for first in range(0, len(data), size)]


def relative(found, expected, floor=0.0):
    """Largest relative difference; values below ``floor`` count as that."""
    found, expected = np.asarray(found, dtype=float), np.asarray(expected, dtype=float)
    assert found.shape == expected.shape
    assert (np.isnan(found) == np.isnan(expected)).all()
    size = np.maximum(np.abs(expected), floor)
    size[size == 0.0] = 1.0
    return float(np.nanmax(np.abs(found - expected) / size, initial=0.0))
