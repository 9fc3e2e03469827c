"""Degrees of freedom over a fit: mlmfast against lmerTest and pbkrtest in one run.

    python benches/inference.py            # W13; lmerTest and pbkrtest where R has them
    python benches/inference.py --large    # Kenward-Roger on 1e6 rows in 2e4 clusters too

W13: 5,000 rows, 100 groups, six covariates, `y ~ x1 + ... + x6 + (x1 | g)`, REML. The time is that
of the degrees of freedom of all coefficients over a fit that is there, with nothing kept from
before. In R: `as_lmerModLmerTest` (the derivatives that Satterthwaite's method needs) and
`summary(fit, ddf)`, minus the summary without them.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

import mlmfast as mlm
from mlmfast.degrees_of_freedom import basis_of, method_of

FORMULA = "y ~ x1 + x2 + x3 + x4 + x5 + x6 + (x1 | g)"
R_SCRIPT = """
suppressPackageStartupMessages({library(lmerTest); library(pbkrtest)})
d <- read.csv(commandArgs(TRUE)[1], stringsAsFactors = TRUE)
plain_fit <- lme4::lmer(FORMULA, d)
fit <- as_lmerModLmerTest(plain_fit)
seconds <- function(code, n) {
  times <- replicate(n, system.time(code())[["elapsed"]]); median(times)
}
plain <- seconds(function() summary(fit, ddf = "lme4"), 5)
found <- list(
  satterthwaite = seconds(
    function() summary(as_lmerModLmerTest(plain_fit), ddf = "Satterthwaite"), 5
  ) - plain,
  kr = seconds(function() summary(fit, ddf = "Kenward-Roger"), 1) - plain
)
df <- summary(fit, ddf = "Kenward-Roger")$coefficients[, "df"]
cat(sprintf('{"satterthwaite": %.6f, "kenward-roger": %.6f, "df": [%s]}',
  found$satterthwaite, found$kr, paste(sprintf("%.6f", df), collapse = ",")))
"""


def design(n_groups: int, per_group: int, seed: int = 13) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(n_groups), per_group)
    x = rng.normal(size=(len(g), 6))
    x[:, :4] += 0.8 * rng.normal(size=(n_groups, 4))[g]
    # Group labels say nothing; half of the covariates vary between groups too.
    y = 1.0 + x @ np.linspace(0.5, -0.3, 6) + rng.normal(size=n_groups)[g]
    y += 0.6 * rng.normal(size=n_groups)[g] * x[:, 0] + rng.normal(size=len(g))
    columns = {f"x{j + 1}": x[:, j] for j in range(6)}
    return pd.DataFrame({"y": y, **columns, "g": [f"g{k}" for k in g]})


def median_seconds(code: Callable[[], object], n: int) -> float:
    code()
    times = []
    for _ in range(n):
        start = time.perf_counter()
        code()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def table_of(fit: mlm.LMMResult, ddf: str) -> Callable[[], object]:
    """Degrees of freedom of all coefficients, nothing kept from before."""

    def compute() -> object:
        fit.__dict__.pop("_rows", None)
        basis = basis_of(fit._rows, fit._record, ddf)
        return method_of(ddf).of_rows(basis, np.eye(fit.rank))

    return compute


def ours(frame: pd.DataFrame, n: int) -> dict[str, float]:
    def fit() -> mlm.LMMResult:
        return mlm.lmm(FORMULA, frame, ddf="asymptotic")

    done = fit()
    out = {"fit": median_seconds(fit, min(n, 15))}
    for ddf in ("satterthwaite", "kenward-roger"):
        out[ddf] = median_seconds(table_of(done, ddf), n)
    return out


def lmer_test(frame: pd.DataFrame, folder: str) -> dict[str, float] | str:
    table = Path(folder) / "w13.csv"
    frame.to_csv(table, index=False)
    code = R_SCRIPT.replace("FORMULA", FORMULA)
    return run(["Rscript", "-e", code, str(table)])


def run(command: list[str]) -> dict[str, float] | str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    except FileNotFoundError:
        return f"{command[0]} is not installed"
    except subprocess.TimeoutExpired:
        return "stopped after 600 s"
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["failed"])[-1][:90]
    return json.loads(done.stdout)


def show(name: str, found: dict[str, float] | str) -> None:
    if isinstance(found, str):
        print(f"  {name:10} {found}")
        return
    keys = [key for key in found if key != "df"]
    print(f"  {name:10} " + "  ".join(f"{key} {1e3 * found[key]:.3g} ms" for key in keys))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--large", action="store_true")
    arguments = parser.parse_args()
    frame = design(100, 50)
    print(f"W13: {FORMULA}, {len(frame):,} rows")
    own = ours(frame, 200)
    show("mlmfast", own)
    with tempfile.TemporaryDirectory() as folder:
        theirs = lmer_test(frame, folder)
        show("lmerTest", theirs)
    if isinstance(theirs, dict):
        for ddf in ("satterthwaite", "kenward-roger"):
            print(f"  lmerTest over mlmfast, {ddf}: {theirs[ddf] / own[ddf]:,.0f} x")
        expected = mlm.lmm(FORMULA, frame, ddf="kenward-roger-expected").df
        worst = np.max(np.abs(np.asarray(theirs["df"]) / expected.to_numpy() - 1.0))
        print(f"  degrees of freedom by Kenward-Roger agree to {worst:.1e}")
    if arguments.large:
        frame = design(20_000, 50)
        print(f"{len(frame):,} rows, 20,000 clusters")
        show("mlmfast", ours(frame, 3))


if __name__ == "__main__":
    main()
