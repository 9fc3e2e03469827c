"""Long series: AR(1) and a random intercept against nlme in one run, and growth with the rows.

    python benches/series.py            # W11 and the growth curve to 1e5 rows
    python benches/series.py --rows 1000000
    python benches/series.py --no-nlme

Each fit is a fresh process that reads its data before the clock starts; memory is what the fit adds
to the resident size at its peak.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

NLME = """
library(nlme); d <- read.csv("{path}", colClasses = c(g = "character"))
seconds <- system.time(f <- lme(y ~ x + t, d, random = ~ 1 | g,
                                correlation = corAR1(form = ~ t | g)))[["elapsed"]]
cat(sprintf('{{"seconds": %.4f, "llf": %.8f}}', seconds, as.numeric(logLik(f))))
"""


def w11(n_subjects: int = 2000, n_rows: int = 20) -> pd.DataFrame:
    """AR(1) residuals and a random intercept; subjects are strings."""
    rng = np.random.default_rng(11)
    noise = rng.normal(size=(n_subjects, n_rows))
    e = np.empty_like(noise)
    e[:, 0] = noise[:, 0]
    for i in range(1, n_rows):
        e[:, i] = 0.6 * e[:, i - 1] + 0.8 * noise[:, i]
    x = rng.normal(size=n_subjects * n_rows)
    frame = pd.DataFrame(
        {
            "g": np.repeat([f"s{k:05d}" for k in range(n_subjects)], n_rows),
            "t": np.tile(np.arange(n_rows), n_subjects),
            "x": x,
        }
    )
    intercepts = np.repeat(rng.normal(size=n_subjects), n_rows)
    return frame.assign(y=1.0 + 0.3 * x + intercepts + e.ravel())


def series(n: int, n_basis: int, own_times: bool) -> pd.DataFrame:
    """Two series of n / 2 rows with a basis of waves whose coefficients are random."""
    rng = np.random.default_rng(n)
    gaps = rng.exponential(size=n) if own_times else np.ones(n)
    decay, noise = np.exp(-gaps / 2.0), rng.normal(size=n)
    e = np.empty(n)
    e[0] = noise[0]
    for i in range(1, n):
        e[i] = decay[i] * e[i - 1] + np.sqrt(1.0 - decay[i] ** 2) * noise[i]
    angle = 2.0 * np.pi * (np.arange(n) % (n // 2)) / (n // 2)
    columns = {"x": rng.normal(size=n), "t": np.cumsum(gaps), "g": np.arange(n) // (n // 2)}
    signal = np.zeros(n)
    for k in range(n_basis):
        columns[f"b{k}"] = (np.sin if k % 2 else np.cos)((k // 2 + 1) * angle)
        signal += columns[f"b{k}"] * rng.normal(size=2)[columns["g"]]
    return pd.DataFrame(columns | {"y": 1.0 + 0.3 * columns["x"] + signal + e})


def formula(n_basis: int) -> str:
    """Fixed effects and the basis as uncorrelated random effects."""
    waves = " + ".join(f"b{k}" for k in range(n_basis))
    return "y ~ x" + (f" + (0 + {waves} || g)" if n_basis else "")


def fit_here(arguments: argparse.Namespace) -> None:
    """One fit, printed as JSON."""
    import mlmfast as mlm

    if arguments.one == "w11":
        frame, text, residual = w11(), "y ~ x + t + (1 | g)", "ar1(t | g)"
    else:
        word, n, n_basis = arguments.one.split(",")
        frame = series(int(n), int(n_basis), word == "car1")
        text, residual = formula(int(n_basis)), f"{word}(t | g)"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    fit = mlm.lmm(text, frame, residual=residual)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    out = {"seconds": seconds, "llf": fit.llf, "memory": peak / 1e3, "converged": fit.converged}
    numbers = frame.select_dtypes("number").memory_usage(index=False).sum() / 1e6
    out |= {"iterate": fit.timings["iterate"], "data": float(numbers)}
    print(json.dumps(out | {"evaluations": fit.certificate.n_evaluations}))


def in_process(what: str) -> dict[str, float]:
    """A fit in a process of its own."""
    command = [sys.executable, __file__, "--one", what]
    return json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def against_nlme() -> None:
    """W11, mlmfast and nlme by turns."""
    with tempfile.TemporaryDirectory() as folder:
        data, script = Path(folder) / "w11.csv", Path(folder) / "w11.R"
        w11().to_csv(data, index=False)
        script.write_text(NLME.format(path=data))
        ours, theirs = [], []
        for _ in range(3):
            ours.append(in_process("w11"))
            answer = subprocess.run(
                ["Rscript", str(script)], capture_output=True, check=True, text=True
            )
            theirs.append(json.loads(answer.stdout))
    best = [min(one["seconds"] for one in runs) for runs in (ours, theirs)]
    print(f"W11  mlmfast {best[0]:.3f} s   nlme {best[1]:.2f} s   {best[1] / best[0]:.0f} times")
    print(f"     llf {ours[0]['llf']:.6f}         {theirs[0]['llf']:.6f}")


def growth(largest: int) -> None:
    """Seconds and memory by rows."""
    print(f"{'model':8}{'rows':>9}{'waves':>7}{'s':>9}{'s/eval':>9}{'MB':>7}{'data MB':>9}")
    for word, n_basis in (("ar1", 0), ("ar1", 20), ("car1", 3), ("car1", 20), ("arma11", 3)):
        n = 1000
        while n <= largest:
            one = in_process(f"{word},{n},{n_basis}")
            each = one["iterate"] / one["evaluations"]
            print(
                f"{word:8}{n:9,}{n_basis:7}{one['seconds']:9.3f}{each:9.4f}{one['memory']:7.0f}"
                f"{one['data']:9.1f}{'' if one['converged'] else '   not converged'}"
            )
            n *= 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000, help="largest number of rows")
    parser.add_argument("--no-nlme", action="store_true", help="leave nlme out")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        fit_here(arguments)
        return
    if not arguments.no_nlme:
        against_nlme()
    growth(arguments.rows)


if __name__ == "__main__":
    main()
