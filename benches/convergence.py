"""Does every fit end at an optimum it can prove, and in how many evaluations?

    python benches/convergence.py                        # 10,000 random problems
    python benches/convergence.py --n 500 --check 25     # and compare 25 with a slow optimiser
    python benches/convergence.py --only 137             # one problem, by its index
    python benches/convergence.py --crossed              # problems with crossed factors

Problems have 1-4 random effects (correlated, `||`, nested), 5-500 clusters of 1-50 rows, half of
them a singular covariance in truth, some weights; the units of the response and of every covariate
are random over many orders of magnitude. ML and REML in equal parts. A problem follows from its
seed and index alone.

A fit is certified when its Newton decrement is below 1e-8, the smallest eigenvalue of the Hessian
on the free parameters is not negative, and a singular fit names its boundary. The exit code is 1
if any fit is not.
"""

import argparse
import time
import warnings
from dataclasses import dataclass

import numpy as np
from crossed_problems import CROSSED, random_crossed_problem
from problems import STRUCTURES, Problem, random_problem, smallest_deviance

MAX_DECREMENT = 1e-8
# Round-off in an eigenvalue of the scaled Hessian, not curvature downwards.
MIN_EIGENVALUE = -1e-8
MAX_EVALUATIONS = 40


@dataclass(frozen=True)
class Outcome:
    """What a fit said of itself; `fault` is empty where nothing is missing."""

    index: int
    random_part: str
    singular_in_truth: bool
    n_evaluations: int
    singular: bool
    deviance: float
    seconds: float
    fault: str


def fit_problem(problem: Problem):
    import mlmfast as mlm

    weights = None if problem.weights is None else "w"
    return mlm.lmm(problem.formula, problem.frame, method=problem.method, weights=weights)


def fault_of(fit) -> str:
    certificate = fit.certificate
    if not fit.converged:
        return "not converged"
    if not certificate.newton_decrement < MAX_DECREMENT:
        return f"decrement {certificate.newton_decrement:.1e}"
    if not certificate.min_hessian_eigenvalue >= MIN_EIGENVALUE:
        return f"smallest eigenvalue {certificate.min_hessian_eigenvalue:.1e}"
    if fit.singular and not len(certificate.boundary):
        return "singular without a named boundary"
    if certificate.n_evaluations > MAX_EVALUATIONS:
        return f"{certificate.n_evaluations} evaluations"
    return ""


def solve(problem: Problem) -> Outcome:
    start = time.perf_counter()
    n_evaluations, singular, deviance = 0, False, float("nan")
    try:
        fit = fit_problem(problem)
        n_evaluations = fit.certificate.n_evaluations
        singular, deviance, fault = bool(fit.singular), float(fit.deviance), fault_of(fit)
    except Exception as error:  # a trial must survive every kind of failure
        fault = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return Outcome(
        problem.index,
        problem.random_part,
        problem.singular_in_truth,
        n_evaluations,
        singular,
        deviance,
        time.perf_counter() - start,
        fault,
    )


def run(seed: int, n: int, crossed: bool = False) -> list[Outcome]:
    outcomes, reported = [], time.monotonic()
    problem = random_crossed_problem if crossed else random_problem
    for index in range(n):
        outcomes.append(solve(problem(seed, index)))
        if time.monotonic() - reported > 10:
            reported = time.monotonic()
            print(f"  {index + 1} of {n}", flush=True)
    return outcomes


def distribution(outcomes: list[Outcome]) -> str:
    """Median, 90th and 99th percentile and largest number of evaluations."""
    counts = np.array([outcome.n_evaluations for outcome in outcomes if outcome.n_evaluations])
    if not counts.size:
        return f"{'-':>8}{'-':>7}{'-':>7}{'-':>7}"
    median, p90, p99 = np.percentile(counts, [50, 90, 99])
    return f"{median:8.1f}{p90:7.0f}{p99:7.0f}{counts.max():7d}"


def report(outcomes: list[Outcome], seed: int) -> None:
    groups: dict[str, list[Outcome]] = {"all": outcomes}
    for random_part in [*(part for parts in STRUCTURES.values() for part in parts), *CROSSED]:
        groups[random_part] = [o for o in outcomes if o.random_part == random_part]
    groups["singular in truth"] = [o for o in outcomes if o.singular_in_truth]
    groups["regular in truth"] = [o for o in outcomes if not o.singular_in_truth]
    print(f"\n{'':36}{'evaluations':>29}{'certified':>12}{'singular':>10}")
    print(f"{'problems':36}{'median':>8}{'90 %':>7}{'99 %':>7}{'max':>7}{'share':>12}{'share':>10}")
    for name, members in groups.items():
        if members:
            certified = np.mean([not outcome.fault for outcome in members])
            singular = np.mean([outcome.singular for outcome in members])
            print(f"{name:36}{distribution(members)}{certified:12.2%}{singular:10.1%}")
    seconds = sum(outcome.seconds for outcome in outcomes)
    print(f"\n{len(outcomes)} fits in {seconds:.1f} s, seed {seed}")
    faults = [outcome for outcome in outcomes if outcome.fault]
    print(f"without a certificate or above {MAX_EVALUATIONS} evaluations: {len(faults)}")
    for outcome in faults[:50]:
        print(f"  --seed {seed} --only {outcome.index:<6} {outcome.random_part}: {outcome.fault}")
    if len(faults) > 50:
        print(f"  ... and {len(faults) - 50} more")


def check(outcomes: list[Outcome], seed: int, n_checks: int) -> None:
    """Compare deviances with a slow optimiser's; a negative difference is one that it missed."""
    fitted = [outcome for outcome in outcomes if np.isfinite(outcome.deviance)]
    spread = np.linspace(0, len(fitted) - 1, min(n_checks, len(fitted))).astype(int)
    above: list[tuple[float, Outcome]] = []
    for k in spread.tolist():
        slow = smallest_deviance(random_problem(seed, fitted[k].index))
        above.append((fitted[k].deviance - slow, fitted[k]))
        if len(above) % 10 == 0:
            print(f"  {len(above)} of {len(spread)} checked", flush=True)
    if not above:
        return
    above.sort(key=lambda pair: pair[0])
    print(f"\nDeviance minus that of the slow optimiser, {len(above)} problems")
    for name, (difference, outcome) in {"highest": above[-1], "lowest": above[0]}.items():
        place = f"--seed {seed} --only {outcome.index}"
        print(f"  {name:8} {difference:+.2e}   {place}  {outcome.random_part}")


def show_one(seed: int, index: int, crossed: bool) -> None:
    problem = (random_crossed_problem if crossed else random_problem)(seed, index)
    print(problem)
    if not crossed:
        print(f"deviance by the slow optimiser: {smallest_deviance(problem):.10f}")
    fit = fit_problem(problem)
    print(f"deviance by mlmfast:            {fit.deviance:.10f}")
    print(fit.certificate)
    print(fit.summary())


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=10_000, help="number of problems")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--check", type=int, default=0, metavar="K")
    parser.add_argument("--only", type=int, metavar="INDEX", help="show one problem and its fit")
    parser.add_argument("--crossed", action="store_true", help="crossed grouping factors")
    arguments = parser.parse_args()
    if arguments.crossed and arguments.check:
        parser.error("--check has no slow optimiser for crossed problems")
    warnings.simplefilter("ignore")
    if arguments.only is not None:
        show_one(arguments.seed, arguments.only, arguments.crossed)
        return 0
    outcomes = run(arguments.seed, arguments.n, arguments.crossed)
    report(outcomes, arguments.seed)
    if arguments.check:
        check(outcomes, arguments.seed, arguments.check)
    return int(any(outcome.fault for outcome in outcomes))


if __name__ == "__main__":
    raise SystemExit(main())
