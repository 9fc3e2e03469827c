"""Long series: AR(1) and a random intercept against nlme in one run, and growth with the rows.

Chains with parameters by visit (ad, adh, ar1h) likewise: growth with the visits, against the
template over visits, and ar1h against nlme's gls with corAR1 and varIdent.

    python benches/series.py            # W11, growth to 1e5 rows, chains to 1,000 visits
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
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from mlmfast.result import LMMResult

NLME = """
library(nlme); d <- read.csv("{path}", colClasses = c(g = "character"))
seconds <- system.time(f <- lme(y ~ x + t, d, random = ~ 1 | g,
                                correlation = corAR1(form = ~ t | g)))[["elapsed"]]
cat(sprintf('{{"seconds": %.4f, "llf": %.8f}}', seconds, as.numeric(logLik(f))))
"""


GLS = """
library(nlme); d <- read.csv("{path}", colClasses = c(g = "character")); d$v <- factor(d$t)
seconds <- system.time(f <- gls(y ~ x + t, d, correlation = corAR1(form = ~ t | g),
                                weights = varIdent(form = ~ 1 | v)))[["elapsed"]]
cat(sprintf('{{"seconds": %.4f, "llf": %.8f}}', seconds, as.numeric(logLik(f))))
"""
#: Subjects of the chains.
N_SUBJECTS = 100


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


def chain(n_subjects: int, n_visits: int, missing: float = 0.1) -> pd.DataFrame:
    """Ante-dependent residuals with random intercepts, a share of the visits missing."""
    rng = np.random.default_rng(n_visits)
    sd, rho = np.exp(0.3 * np.sin(np.arange(n_visits))), 0.5 + 0.3 * np.cos(np.arange(n_visits))
    e = rng.normal(size=(n_subjects, n_visits))
    for k in range(1, n_visits):
        e[:, k] = rho[k] * e[:, k - 1] + np.sqrt(1.0 - rho[k] ** 2) * e[:, k]
    y = sd * e + rng.normal(size=(n_subjects, 1))
    frame = pd.DataFrame(
        {
            "g": np.repeat([f"s{k:05d}" for k in range(n_subjects)], n_visits),
            "t": np.tile(np.arange(n_visits), n_subjects),
            "x": rng.normal(size=y.size),
        }
    ).assign(y=lambda f: y.ravel() + 0.3 * f["x"])
    return frame[rng.uniform(size=y.size) >= missing].reset_index(drop=True)


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
    from mlmfast.design.residual import read as residual_read

    if arguments.one == "w11":
        frame, text, residual = w11(), "y ~ x + t + (1 | g)", "ar1(t | g)"
    elif arguments.one.startswith("chain"):
        _, word, n, n_visits, random, form = arguments.one.split(",")
        frame, residual = chain(int(n), int(n_visits)), f"{word}(t | g)"
        text = "y ~ x + t" + random
        if form == "template":
            residual_read.FEW_VISITS = 1000
            residual_read.LARGEST_TEMPLATE = residual_read.LARGEST_ORDER = 1000
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
    if arguments.one.startswith("chain"):
        out |= passes(fit, frame)
    out |= {"rows": len(frame), "evaluations": fit.certificate.n_evaluations}
    print(json.dumps(out))


def passes(fit: LMMResult, frame: pd.DataFrame) -> dict[str, float]:
    """Seconds of -2 log-likelihood, of its derivatives, and of one pass over the data."""
    source = fit._source
    assert source is not None
    theta, first = source.theta, np.zeros(1, dtype=np.intp)
    criterion = source.criterion
    numbers = np.ascontiguousarray(frame.select_dtypes("number").to_numpy(float))

    def best(call: Callable[[], object]) -> float:
        times = []
        for _ in range(5):
            started = time.perf_counter()
            call()
            times.append(time.perf_counter() - started)
        return min(times)

    return {
        "value": best(lambda: criterion.value(theta, first)),
        "derivatives": best(lambda: criterion(theta, first)),
        "pass": best(lambda: numbers.T @ numbers),
    }


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


def chain_against_gls(n_subjects: int = 200, n_visits: int = 16) -> None:
    """ar1h, mlmfast and nlme's gls by turns."""
    with tempfile.TemporaryDirectory() as folder:
        data, script = Path(folder) / "chain.csv", Path(folder) / "chain.R"
        chain(n_subjects, n_visits).to_csv(data, index=False)
        script.write_text(GLS.format(path=data))
        ours, theirs = [], []
        for _ in range(3):
            ours.append(in_process(f"chain,ar1h,{n_subjects},{n_visits},,chain"))
            command = ["Rscript", str(script)]
            answer = subprocess.run(command, capture_output=True, check=True, text=True)
            theirs.append(json.loads(answer.stdout))
    best = [min(one["seconds"] for one in runs) for runs in (ours, theirs)]
    print(f"ar1h {n_subjects} x {n_visits}", end="  ")
    print(f"mlmfast {best[0]:.3f} s   gls {best[1]:.2f} s   {best[1] / best[0]:.0f} times")
    print(f"     llf {ours[0]['llf']:.6f}         {theirs[0]['llf']:.6f}")


def chains(largest: int) -> None:
    """Seconds and memory by visits; the template over visits, where it ends in minutes."""
    head = (
        f"{'model':6}{'random':>10}{'form':>10}{'visits':>8}{'rows':>9}{'parameters':>11}{'s':>9}"
    )
    print(f"{head}{'evaluations':>12}{'s/value':>9}{'s/deriv':>9}{'value/pass':>11}{'MB':>7}")
    cases = [(w, r, m, "chain") for w in ("ad", "adh", "ar1h") for r in ("", " + (1 | g)")
             for m in (30, 60, 100, 300, 1000) if m <= largest]  # fmt: skip
    cases += [("adh", "", 60, "template"), ("ar1h", "", 60, "template")]
    cases += [("adh", " + (1 | g)", 30, "template")]
    for word, random, n_visits, form in cases:
        one = in_process(f"chain,{word},{N_SUBJECTS},{n_visits},{random},{form}")
        n_parameters = {"ad": n_visits, "adh": 2 * n_visits - 1, "ar1h": n_visits + 1}[word]
        print(
            f"{word:6}{random[3:]:>10}{form:>10}{n_visits:8,}{one['rows']:9,}{n_parameters:11,}"
            f"{one['seconds']:9.3f}{one['evaluations']:12}{one['value']:9.5f}"
            f"{one['derivatives']:9.4f}{one['value'] / one['pass']:11.0f}{one['memory']:7.0f}"
            f"{'' if one['converged'] else '   not converged'}",
            flush=True,
        )


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
    parser.add_argument("--visits", type=int, default=1000, help="largest number of visits")
    parser.add_argument("--no-nlme", action="store_true", help="leave nlme out")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        fit_here(arguments)
        return
    if not arguments.no_nlme:
        against_nlme()
        chain_against_gls()
    chains(arguments.visits)
    growth(arguments.rows)


if __name__ == "__main__":
    main()
