"""A published study again: Chu et al. (2011), multicentre trials whose arms are uneven by chance.

Chu, R., Thabane, L., Ma, J., Holbrook, A., Pullenayegum, E., Devereaux, P. J. (2011). Comparing
methods to estimate treatment effects on a continuous outcome in multicentre randomized controlled
trials. BMC Medical Research Methodology 11:21, table 6.

180 patients in 45 centres of 4, 18 of 10 or 6 of 30, each given a treatment at random, so that arms
are uneven within centres; treatment effect 0.5, standard deviation 1 within centres, intraclass
correlation .01, .05 or .20. Table 6 gives the mean and the standard deviation of the estimates and
the mean standard error of (A) least squares, (B) least squares with a column a centre, (C) a mixed
model by REML and (D) generalised estimating equations with exchangeable correlation.

    python chu_2011.py            # 9 conditions of 1,000 replicates, a minute
    python chu_2011.py 200        # fewer

What is inferred, for the table was at hand and not the whole article: the variance within centres
(that by which the standard errors of A and B come out), and 1,000 replicates on their side. (D) is
here the mixed model with the sandwich CR0, which has another estimate of the working correlation.
The two analyses of centres' own differences (E-1, E-2) are left out: how centres of one arm enter
is not said in the table.

With 1,000 replicates here the largest of the 81 differences of (A) to (C) is 2.9 Monte Carlo
standard errors, their root mean square 0.94; of the 27 of (D) 2.5 and 0.95.
"""

import sys

import numpy as np
import pandas as pd

import mlmfast as mlm

ICC = (0.01, 0.05, 0.20)
#: Table 6: centres -> model -> (mean, SD, mean standard error) for each intraclass correlation.
PUBLISHED = {
    45: {
        "A": [(0.502, 0.146, 0.150), (0.511, 0.154, 0.154), (0.494, 0.168, 0.166)],
        "B": [(0.506, 0.162, 0.172), (0.510, 0.174, 0.172), (0.496, 0.180, 0.172)],
        "C": [(0.502, 0.145, 0.149), (0.511, 0.155, 0.152), (0.496, 0.165, 0.159)],
        "D": [(0.501, 0.146, 0.146), (0.511, 0.155, 0.149), (0.496, 0.165, 0.155)],
    },
    18: {
        "A": [(0.495, 0.148, 0.150), (0.498, 0.150, 0.153), (0.497, 0.169, 0.166)],
        "B": [(0.494, 0.156, 0.157), (0.498, 0.152, 0.157), (0.500, 0.161, 0.157)],
        "C": [(0.495, 0.148, 0.150), (0.498, 0.149, 0.151), (0.499, 0.159, 0.153)],
        "D": [(0.494, 0.148, 0.142), (0.498, 0.150, 0.144), (0.499, 0.159, 0.148)],
    },
    6: {
        "A": [(0.499, 0.153, 0.149), (0.502, 0.150, 0.153), (0.510, 0.165, 0.164)],
        "B": [(0.499, 0.155, 0.150), (0.501, 0.150, 0.151), (0.507, 0.151, 0.152)],
        "C": [(0.499, 0.153, 0.149), (0.503, 0.149, 0.150), (0.507, 0.151, 0.151)],
        "D": [(0.498, 0.154, 0.129), (0.503, 0.150, 0.131), (0.508, 0.151, 0.134)],
    },
}
PUBLISHED_REPLICATES = 1000
FIGURES = ("mean", "sd", "se")


def trial(condition):
    """The design of a condition; treatments are drawn anew in each replicate."""
    centres = condition["centres"]
    return mlm.design(
        "y ~ t + (1 | centre)",
        levels={"centre": centres, "patient": 180 // centres},
        covariates={"t": "binary(0.5)"},
        params={"t": 0.5},
        icc=condition["icc"],
        sigma=1,
    )


def least_squares(data, condition):
    """(A): without regard to centres."""
    return _slope(data["t"].to_numpy(), data["y"].to_numpy(), 2, len(data))


def with_centres(data, condition):
    """(B): within centres."""
    groups = data.groupby("centre", observed=True)
    t, y = (data[name] - groups[name].transform("mean") for name in ("t", "y"))
    return _slope(t.to_numpy(), y.to_numpy(), 1 + condition["centres"], len(data))


def _slope(t, y, n_columns, n):
    t, y = t - t.mean(), y - y.mean()
    estimate, df = (t @ y) / (t @ t), n - n_columns
    se = np.sqrt(np.sum((y - estimate * t) ** 2) / df / (t @ t))
    return {"t": (estimate, se, df)}


def study(n_replicates):
    """Scenarios 4 to 6 of the article."""
    formula = "y ~ t + (1 | centre)"
    return mlm.Study(
        conditions={"centres": list(PUBLISHED), "icc": ICC},
        generate=trial,
        methods={
            "A": least_squares,
            "B": with_centres,
            "C": mlm.Method(formula),
            "D": mlm.Method(formula, robust="CR0"),
        },
        estimands={"t": 0.5},
        n_replicates=n_replicates,
        seed=2011,
        chunk=250,
    )


def compared(result):
    """Ours beside the published figures, in Monte Carlo standard errors of their difference."""
    own = result.replicates.groupby(["centres", "icc", "method"])
    n = own["estimate"].size()
    ours = pd.DataFrame({
        "mean": own["estimate"].mean(), "sd": own["estimate"].std(), "se": own["std_error"].mean()
    })  # fmt: skip
    theirs = pd.DataFrame({
        (centres, icc, model): row
        for centres, by_model in PUBLISHED.items()
        for model, rows in by_model.items()
        for icc, row in zip(ICC, rows, strict=True)
    }, index=FIGURES).T.reindex(ours.index)  # fmt: skip
    sides = 1 / n + 1 / PUBLISHED_REPLICATES
    # Figures of three decimals are rounded by a standard deviation of 0.00029.
    error = pd.DataFrame({
        "mean": ours["sd"] ** 2 * sides,
        "sd": ours["sd"] ** 2 * sides / 2,
        "se": own["std_error"].var() * sides,
    }).add(0.001**2 / 12) ** 0.5  # fmt: skip
    parts = {"published": theirs, "here": ours, "z": (ours - theirs) / error}
    return pd.concat(parts, axis=1).stack(level=1, future_stack=True)


if __name__ == "__main__":
    result = study(int(sys.argv[1]) if len(sys.argv) > 1 else 1000).run("chu_2011", extend=True)
    table = compared(result)
    print(table.unstack(-1).round(3).to_string())
    for name, rows in (("A to C", table.drop("D", level="method")),
                       ("D", table.xs("D", level="method"))):  # fmt: skip
        z = rows["z"]
        print(
            f"{name}: largest |z| {z.abs().max():.2f}; root mean square {(z**2).mean() ** 0.5:.2f}"
        )
    print((table["here"] - table["published"]).xs("D", level="method").unstack(-1).round(4))
