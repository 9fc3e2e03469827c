"""Does every residual covariance structure end at an optimum it can prove, and how fast?

    python benches/structures.py                          # 1,000 random designs per structure
    python benches/structures.py --n 50 --structure toep  # fewer, of one structure
    python benches/structures.py --structure ar1 --only 7 # one problem, by its index
    python benches/structures.py --minutes 10 --json out.jsonl  # a line a fit
    python benches/structures.py --n 50 --before PATH     # and by another build's Python folder
    python benches/structures.py --n 50 --one-start       # without a search from other starts

Designs have 8-120 subjects of 2-8 visits, 0-40 % of the visits missing, a true correlation from
strongly negative lags to 0.95, variances that may grow, weights, two arms, no random effect, or one
by site or by subject; ML and REML in equal parts. A problem follows from its structure, the seed
and its index alone.

"elsewhere" are evaluations from other starts, which "evaluations" does not count; what iterations
from there come to is followed with them. With --one-start there is no such search.

A fit is at a minimum when its Newton decrement is below 1e-8 and the smallest eigenvalue of the
Hessian is not negative (at a singular residual covariance, those of the criterion with a barrier,
see `near_singular.py`). It is certified when it is at a minimum, or says that the likelihood has no
maximum (fewer subjects have certain visits together than those visits are). "named" are fits that
say what is singular or cannot be told apart. A design that is refused with a message counts as
refused, not as a failure. With --before the same problems are solved by another build too, and
those that end higher than there are listed. The exit code is 1 if any fit is not certified.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

MAX_DECREMENT = 1e-8
MIN_EIGENVALUE = -1e-6
# Rise of -2 log-likelihood over another build's that is not rounding.
HIGHER = 1e-3


@dataclass(frozen=True)
class Problem:
    """A data set and how it is to be fitted."""

    structure: str
    index: int
    frame: pd.DataFrame
    formula: str
    arguments: dict[str, str]


@dataclass(frozen=True)
class Outcome:
    """What a fit said of itself; `fault` is empty where nothing is missing."""

    structure: str
    index: int
    n_evaluations: int
    at_minimum: bool
    no_maximum: bool
    named: bool
    refused: bool
    seconds: float
    fault: str
    deviance: float = np.nan
    n_elsewhere: int = 0


def residuals(rng, n_subjects, n_visits, times):
    """Correlated errors of all subjects at all visits."""
    lag = np.abs(np.subtract.outer(times, times))
    rho = rng.choice([0.0, 0.3, 0.6, 0.9, 0.95])
    kind = rng.integers(0, 4)
    correlation = rho ** (lag / max(lag.max() / (n_visits - 1), 1e-9))
    if kind == 1:
        correlation = rho + (1 - rho) * np.eye(n_visits)
    elif kind == 2:
        root = rng.normal(size=(n_visits, n_visits + 1))
        full = root @ root.T
        correlation = full / np.sqrt(np.outer(np.diag(full), np.diag(full)))
    sd = np.ones(n_visits) if rng.integers(0, 2) else np.exp(rng.normal(size=n_visits) * 0.4)
    root = np.linalg.cholesky(correlation + 1e-9 * np.eye(n_visits))
    return rng.normal(size=(n_subjects, n_visits)) @ root.T * sd


def random_problem(structure: str, needs: str, seed: int, index: int) -> Problem:
    rng = np.random.default_rng([seed, index, *map(ord, structure)])
    n_subjects, n_visits = int(rng.integers(8, 121)), int(rng.integers(3, 9))
    times = np.cumsum(rng.uniform(0.3, 3.0, n_visits))
    subject = np.repeat(np.arange(n_subjects), n_visits)
    visit = np.tile(np.arange(n_visits), n_subjects)
    site = subject % int(rng.integers(4, 9))
    x = rng.normal(size=subject.size)
    y = residuals(rng, n_subjects, n_visits, times).ravel() + 0.5 * x + 0.1 * visit
    y = y + rng.choice([0.0, 0.7]) * rng.normal(size=10)[site]
    y = (y + rng.choice([0.0, 0.8]) * rng.normal(size=n_subjects)[subject]) * 10.0 ** rng.integers(
        -4, 5
    )
    weights = rng.uniform(0.5, 2.0, subject.size)
    frame = pd.DataFrame(
        {
            "y": y,
            "x": x,
            "w": weights,
            "visit": [f"v{k}" for k in visit],
            "time": times[visit],
            "other": rng.normal(size=n_visits)[visit],
            "subject": subject,
            "site": site,
            "arm": np.where(subject % 2, "a", "b"),
        }
    )
    kept = rng.permutation(len(frame))[: round((1 - rng.choice([0.0, 0.15, 0.4])) * len(frame))]
    frame = frame.iloc[kept].reset_index(drop=True)
    if structure.startswith("sp_linl"):
        # It goes by the logarithm of distances, all of which must be larger than 1.
        frame["time"] *= 1.1 / np.diff(times).min()
    coordinate = "time" if needs == "coordinates" else "visit"
    if structure == "sp_powa":
        coordinate = "time, other"
    subject_term = rng.choice(["subject", "subject", "subject", "arm / subject"])
    random = rng.choice(["", "", " + (1 | site)", " + (1 | subject)"])
    arguments = {"residual": f"{structure}({coordinate} | {subject_term})"}
    arguments["method"] = str(rng.choice(["REML", "ML"]))
    if "@" in structure:
        arguments["residual"] = f"{structure} | subject"
        frame["outcome"] = frame["arm"]
    if rng.integers(0, 2):
        arguments["weights"] = "w"
    if rng.random() < 0.15:
        arguments["residual_scale"] = str(rng.choice(["arm", "exp(x)"]))
    return Problem(structure, index, frame, "y ~ x + visit" + random, arguments)


def has_no_maximum(fit) -> bool:
    return any("has no maximum" in text for text in fit.certificate.boundary)


def fault_of(fit) -> str:
    certificate = fit.certificate
    if has_no_maximum(fit):
        return ""
    if not fit.converged:
        found = certificate.newton_decrement, certificate.min_hessian_eigenvalue
        return "not converged (decrement {:.1e}, smallest eigenvalue {:.1e})".format(*found)
    if not certificate.newton_decrement < MAX_DECREMENT:
        return f"decrement {certificate.newton_decrement:.1e}"
    if not certificate.min_hessian_eigenvalue >= MIN_EIGENVALUE:
        return f"smallest eigenvalue {certificate.min_hessian_eigenvalue:.1e}"
    return ""


def solve(problem: Problem) -> Outcome:
    import mlmfast as mlm
    from mlmfast.errors import ModelError

    start = time.perf_counter()
    n_evaluations, at_minimum, no_maximum, named, refused, fault = 0, False, False, False, False, ""
    deviance, n_elsewhere = np.nan, 0
    try:
        fit = mlm.lmm(problem.formula, problem.frame, **problem.arguments)
        n_evaluations, named = fit.certificate.n_evaluations, bool(fit.certificate.boundary)
        at_minimum, no_maximum, fault = fit.converged, has_no_maximum(fit), fault_of(fit)
        deviance, n_elsewhere = fit.deviance, fit.certificate.n_elsewhere
    except ModelError:
        refused = True
    except Exception as error:  # a trial must survive every kind of failure
        fault = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    seconds = time.perf_counter() - start
    return Outcome(
        problem.structure,
        problem.index,
        n_evaluations,
        at_minimum,
        no_maximum,
        named,
        refused,
        seconds,
        fault,
        deviance,
        n_elsewhere,
    )


def print_header() -> None:
    print(f"{'':12}{'':7}{'evaluations':>29}{'elsewhere':>14}{'share':>50}")
    print(
        f"{'structure':12}{'n':>7}{'median':>8}{'90 %':>7}{'99 %':>7}{'max':>7}"
        f"{'mean':>7}{'max':>7}{'certified':>12}"
        f"{'minimum':>9}{'no maximum':>12}{'named':>8}{'refused':>9}{'ms':>8}",
        flush=True,
    )


def print_row(name: str, own: list[Outcome]) -> None:
    counts = [o.n_evaluations for o in own if o.n_evaluations] or [0]
    others = [o.n_elsewhere for o in own] or [0]
    median, p90, p99 = np.percentile(counts, [50, 90, 99])
    print(
        f"{name:12}{len(own):7d}{median:8.1f}{p90:7.0f}{p99:7.0f}{max(counts):7d}"
        f"{np.mean(others):7.0f}{max(others):7d}"
        f"{np.mean([not o.fault for o in own]):12.2%}"
        f"{np.mean([o.at_minimum for o in own]):9.1%}"
        f"{np.mean([o.no_maximum for o in own]):12.1%}"
        f"{np.mean([o.named for o in own]):8.1%}"
        f"{np.mean([o.refused for o in own]):9.1%}"
        f"{1000 * np.median([o.seconds for o in own]):8.1f}",
        flush=True,
    )


def print_misses(own: list[Outcome], seed: int) -> None:
    for o in [o for o in own if o.fault][:60]:
        line = f"  --seed {seed} --structure '{o.structure}' --only {o.index}: {o.fault}"
        print(line, flush=True)


def from_one_start() -> None:
    """Leave out the search from other starts, of fits in this process."""
    import mlmfast.fitting.minima.several as several

    several.fits_to_search = lambda *_: np.zeros(0, dtype=np.intp)


def outcomes_of(word: str, needs: str, arguments: argparse.Namespace) -> list[Outcome]:
    """Outcomes of the problems of one structure, as many as the minutes allow."""
    started, own = time.perf_counter(), []
    for index in range(arguments.n):
        if time.perf_counter() - started > 60 * arguments.minutes:
            break
        own.append(solve(random_problem(word, needs, arguments.seed, index)))
        if arguments.json:
            with open(arguments.json, "a") as lines:
                lines.write(json.dumps(asdict(own[-1])) + "\n")
    return own


def outcomes_before(words: list[str], arguments: argparse.Namespace) -> list[Outcome]:
    """Outcomes of the same problems by another build."""
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "before.jsonl"
        asked = ["--n", str(arguments.n), "--seed", str(arguments.seed), "--structure", *words]
        command = [sys.executable, __file__, *asked, "--minutes", str(arguments.minutes)]
        command += ["--one-start"] if arguments.one_start else []
        paths = {"PYTHONPATH": arguments.before}
        subprocess.run(
            [*command, "--json", str(lines)],
            env=os.environ | paths,
            stdout=subprocess.DEVNULL,
            check=False,
        )
        return [Outcome(**json.loads(line)) for line in lines.read_text().splitlines()]


def print_against(now: list[Outcome], before: list[Outcome]) -> None:
    """The table of the build before, and problems that ended higher than there."""
    print("\nbefore")
    for word in dict.fromkeys(o.structure for o in before):
        print_row(word, [o for o in before if o.structure == word])
    print_row("all", before)
    by_problem = {(o.structure, o.index): o for o in before}
    for o in now:
        old = by_problem.get((o.structure, o.index))
        if old is None or o.no_maximum or old.no_maximum or not old.at_minimum:
            continue
        if o.deviance > old.deviance + HIGHER:
            print(f"  higher: {o.structure} {o.index} by {o.deviance - old.deviance:.2e}")


def show_one(word: str, needs: str, arguments: argparse.Namespace) -> None:
    import mlmfast as mlm

    problem = random_problem(word, needs, arguments.seed, arguments.only)
    print(problem.formula, problem.arguments, problem.frame.describe(), sep="\n")
    warnings.simplefilter("default")
    fit = mlm.lmm(problem.formula, problem.frame, **problem.arguments)
    print(fit.summary(), fit.certificate, sep="\n")


def main() -> int:
    import mlmfast as mlm

    table = mlm.structures()
    words = [word for word in table.index if word not in ("car1", "lin", "rr")]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--structure", nargs="+", default=words)
    parser.add_argument("--only", type=int, help="one problem, by its index")
    parser.add_argument("--minutes", type=float, default=np.inf, help="at most, a structure")
    parser.add_argument("--before", help="Python folder of another build")
    parser.add_argument("--one-start", action="store_true", help="no search from other starts")
    parser.add_argument("--json", help="file to which a line for every fit is added")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.one_start:
        from_one_start()
    if arguments.only is not None:
        for word in arguments.structure:
            show_one(word, table.loc[word, "needs"], arguments)
        return 0
    print_header()
    outcomes = []
    for word in arguments.structure:
        own = outcomes_of(word, table.loc[word, "needs"], arguments)
        print_row(word, own)
        print_misses(own, arguments.seed)
        outcomes += own
    print_row("all", outcomes)
    if arguments.before:
        print_against(outcomes, outcomes_before(arguments.structure, arguments))
    return int(any(o.fault for o in outcomes))


if __name__ == "__main__":
    raise SystemExit(main())
