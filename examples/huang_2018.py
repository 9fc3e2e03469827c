"""A published study again: Huang (2018), standard errors with few clusters.

Huang, F. L. (2018). Using cluster bootstrapping to analyze nested data with a few clusters.
Educational and Psychological Measurement 78(2), 297-318 (PMC5965657).

Pupils within 10, 20 or 30 groups, 10, 30 or 50 a group (drawn 10 per cent larger, then rows removed
at random, more often those in the middle), intraclass correlations of .05 to .30; 1,000 replicates.
Table 2 of the article gives the relative bias, in per cent, of standard errors: the mean standard
error over the standard deviation of the estimates, less one, of least squares ("OLS") and of a
mixed model by REML with Kenward and Roger's adjustment ("MLM"). They are those of the level-1
effect: of an effect of groups least squares would be far off, as the second table here shows.

    python huang_2018.py            # 36 conditions, some minutes
    python huang_2018.py 200        # fewer replicates

The folder ``huang_2018`` keeps what is finished; the same call goes on.

With 1,000 replicates here the largest of the 72 differences from the table is 2.2 Monte Carlo
standard errors of a difference, and their root mean square 0.84. The article's replicates of one
number of groups and one size share their random numbers over the four intraclass correlations, so
that its four columns are nearly one: where all four differ from ours it is one difference.
"""

import sys

import numpy as np
import pandas as pd

import mlmfast as mlm

#: Residual standard deviation of the groups that gives each intraclass correlation (the article's).
GROUP_SD = {0.05: 0.20, 0.10: 0.45, 0.20: 0.79, 0.30: 1.08}
#: Table 2: (groups, size) -> (OLS, MLM) for each intraclass correlation.
PUBLISHED = {
    (10, 10): [(-4.2, -2.8), (-3.4, -2.6), (-2.2, -2.8), (-1.3, -2.8)],
    (10, 30): [(0.5, 0.7), (0.2, 0.5), (-0.1, 0.6), (-0.5, 0.7)],
    (10, 50): [(1.9, 2.2), (1.5, 2.0), (1.0, 1.9), (0.6, 1.9)],
    (20, 10): [(-0.2, 0.3), (-0.4, -0.3), (-0.5, -0.6), (-0.5, -0.7)],
    (20, 30): [(-1.2, -1.2), (-1.8, -1.2), (-2.5, -1.1), (-3.0, -1.1)],
    (20, 50): [(-1.0, -0.8), (-1.3, -0.8), (-1.8, -0.8), (-2.2, -0.9)],
    (30, 10): [(3.3, 2.9), (2.8, 2.2), (2.0, 1.8), (1.4, 1.7)],
    (30, 30): [(1.2, 1.0), (1.1, 1.0), (0.7, 1.0), (0.4, 1.0)],
    (30, 50): [(2.2, 2.3), (1.4, 2.6), (0.4, 2.7), (-0.4, 2.7)],
}
PUBLISHED_REPLICATES = 1000


def pupils(condition, rng):
    """One data set, as the article's supplement draws it."""
    groups, size = condition["groups"], condition["size"]
    drawn = round(1.1 * size)
    n = groups * drawn
    group = np.repeat(np.arange(groups), drawn)
    x, e = rng.normal(size=n), rng.normal(size=n)
    w, u = rng.normal(size=groups)[group], rng.normal(size=groups)[group]
    t = (np.arange(n) >= n // 2).astype(float)
    y = 0.3 * t + 0.3 * w + 0.8 * x + GROUP_SD[condition["icc"]] * u + 1.5 * e
    keep = np.ones(n, dtype=bool)
    keep[removed(n, n - groups * size, rng)] = False
    columns = {"y": y, "x": x, "w": w, "t": t, "group": group}
    return {name: values[keep] for name, values in columns.items()}


def removed(n, how_many, rng):
    """Rows to remove: of twice as many normal draws around the middle those that are rows."""
    found = np.unique(np.trunc(rng.normal(n / 2, n / 6, size=2 * how_many)).astype(int))
    return rng.choice(found[(found > 0) & (found < n)], how_many, replace=False) - 1


def least_squares(data, condition):
    """Least squares without regard to groups."""
    X = np.column_stack([np.ones(len(data)), data["w"], data["x"], data["t"]])
    y = data["y"].to_numpy()
    inverse = np.linalg.inv(X.T @ X)
    beta = inverse @ (X.T @ y)
    df = len(y) - X.shape[1]
    se = np.sqrt(np.sum((y - X @ beta) ** 2) / df * np.diag(inverse))
    return {"x": (beta[2], se[2], df), "t": (beta[3], se[3], df)}


def study(n_replicates):
    """The study: the level-1 effect of the table, and the treatment of groups beside it."""
    return mlm.Study(
        conditions={"groups": [10, 20, 30], "size": [10, 30, 50], "icc": list(GROUP_SD)},
        generate=pupils,
        methods={
            "OLS": least_squares,
            "MLM": mlm.Method("y ~ w + x + t + (1 | group)", ddf="kenward-roger"),
        },
        estimands={"x": 0.8, "t": 0.3},
        n_replicates=n_replicates,
        seed=2018,
        chunk=100,
    )


def compared(result):
    """Ours beside the published values, in Monte Carlo standard errors of their difference."""
    rows = result.replicates
    own = rows[rows["estimand"] == "x"].groupby(["groups", "size", "icc", "method"])
    summary = own.agg(se=("std_error", "mean"), sd=("estimate", "std"), n=("estimate", "size"))
    ours = 100 * (summary["se"] / summary["sd"] - 1)
    theirs = pd.Series({
        (groups, size, icc, method): values[m]
        for (groups, size), by_icc in PUBLISHED.items()
        for icc, values in zip(GROUP_SD, by_icc, strict=True)
        for m, method in enumerate(("OLS", "MLM"))
    }).reindex(ours.index)  # fmt: skip
    # The error of a standard deviation of n normal estimates, on both sides.
    error = 100 * np.sqrt(0.5 / (summary["n"] - 1) + 0.5 / (PUBLISHED_REPLICATES - 1))
    return pd.DataFrame({"published": theirs, "here": ours, "z": (ours - theirs) / error})


if __name__ == "__main__":
    result = study(int(sys.argv[1]) if len(sys.argv) > 1 else 1000).run("huang_2018", extend=True)
    table = compared(result)
    print(table.unstack("method").round(1).to_string())
    root_mean_square = (table["z"] ** 2).mean() ** 0.5
    print(f"\nlargest |z| {table['z'].abs().max():.2f}; root mean square {root_mean_square:.2f}")
    treatment = result.performance(["relative_error", "coverage"])
    treatment = treatment[treatment["estimand"] == "t"]
    print("\nThe treatment of whole groups, which least squares takes for that of pupils:")
    print(treatment.pivot_table(index=["groups", "size", "icc"], columns=["measure", "method"],
                                values="value").round(2).to_string())  # fmt: skip
