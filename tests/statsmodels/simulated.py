"""Data of these tests."""

import numpy as np
import pandas as pd


def growth(seed=3, n_groups=15, size=7):
    """Rows of groups with a slope, a factor, a class within groups, and odd names."""
    rng = np.random.default_rng(seed)
    n = n_groups * size
    group = np.repeat(np.arange(n_groups), size)
    x = rng.normal(size=n)
    data = pd.DataFrame(
        {
            "x": x,
            "z": rng.gamma(2.0, size=n),
            "arm": rng.choice(["b", "a", "c"], n),
            "site": [f"s{k}" for k in group],
            "part": [f"p{k}" for k in rng.integers(0, 3, n)],
            "a b": rng.normal(size=n),
            "f.1": rng.normal(size=n),
            "batch": rng.choice(["A", "B"], n),
        }
    )
    y = 1.0 + x + rng.normal(0, 1.2, n_groups)[group] + rng.normal(0, 0.7, n_groups)[group] * x
    y += rng.normal(0, 0.9, (n_groups, 3))[group, data["part"].str[1:].astype(int)]
    data["y"] = y + rng.normal(size=n)
    data.index = [f"row{k}" for k in range(n)]
    return data
