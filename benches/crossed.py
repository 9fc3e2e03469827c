"""Crossed random effects: times and peak memory, beside glmm and lme4 where they are installed.

    python benches/crossed.py                          # all workloads, mlmfast and glmm
    python benches/crossed.py insteval maximal --with mlmfast glmm lme4
    python benches/crossed.py ratings --with mlmfast --before PATH   # another build's Python folder
    python benches/crossed.py ratings --factorizations               # one evaluation by its parts

Workloads, generated: `insteval`, ratings of 1,128 lecturers by 2,972 students in 28 departments by
service (73,421 rows); `ratings_small` and `ratings`, 2e5 and 1e6 ratings on 4,000 x 1,000 and
20,000 x 5,000 levels; `maximal`, 56 subjects x 32 items x 8 conditions with 36 + 36 covariance
parameters; `schools_2k` and `schools_20k`, 20,000 and 200,000 pupils met twice in 2,000 and 20,000
schools, 15 % of the times in a school next to their own, and `slopes_20k`, the same with slopes by
school: sparse factors, whose time grows linearly with the schools. Every fit runs in a process of
its own: from the data frame in memory to the result, the best of up to three runs, and the peak
memory of the process above that of its data and the program's modules. Processor seconds besides,
which a busy machine disturbs less. With `--before` both builds run in turns, `--rounds` times.
`--factorizations` sets one evaluation with its derivatives beside LAPACK's Cholesky factor of a
matrix of the same order, both on one thread, by processor time.
"""

import argparse
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

FORMULAS = {
    "insteval": "y ~ 1 + service + (1 | s) + (1 | d) + (1 | ds)",
    "ratings_small": "y ~ x + (1 | user) + (1 | item)",
    "ratings": "y ~ x + (1 | user) + (1 | item)",
    "maximal": "y ~ a * b * c + (a * b * c | subj) + (a * b * c | item)",
    "schools_2k": "y ~ x + (1 | pupil) + (1 | school)",
    "schools_20k": "y ~ x + (1 | pupil) + (1 | school)",
    "slopes_20k": "y ~ x + (1 | pupil) + (x | school)",
}
PROGRAMS = ("mlmfast", "glmm", "lme4")
BUDGET = 20.0


def insteval(rng: np.random.Generator) -> pd.DataFrame:
    n, students, lecturers, departments = 73_421, 2_972, 1_128, 14
    s, d = rng.integers(0, students, n), _popular(rng, n, lecturers, 0.5)
    service, home = rng.integers(0, 2, n), rng.integers(0, departments, lecturers)
    ds = 2 * home[d] + service
    y = 3.2 + rng.normal(0, 0.33, students)[s] + rng.normal(0, 0.51, lecturers)[d]
    y += rng.normal(0, 0.11, 2 * departments)[ds] - 0.07 * service + rng.normal(0, 1.18, n)
    names = {"s": _names("s", s), "d": _names("d", d), "ds": _names("ds", ds)}
    return pd.DataFrame({"y": y, "service": service.astype(float), **names})


def ratings(rng: np.random.Generator, n: int, users: int, items: int) -> pd.DataFrame:
    u, i = _popular(rng, n, users, 0.4), _popular(rng, n, items, 0.7)
    x = rng.normal(size=n)
    y = 3.5 + 0.2 * x + rng.normal(0, 0.45, users)[u] + rng.normal(0, 0.5, items)[i]
    y += rng.normal(0, 0.9, n)
    return pd.DataFrame({"y": y, "x": x, "user": _names("u", u), "item": _names("i", i)})


def maximal(rng: np.random.Generator) -> pd.DataFrame:
    subjects, items, signs = 56, 32, (-1.0, 1.0)
    rows = [
        (s, i, a, b, c)
        for s in range(subjects)
        for i in range(items)
        for a in signs
        for b in signs
        for c in signs
    ]
    s, i, a, b, c = (np.array(column) for column in zip(*rows, strict=True))
    X = np.column_stack([np.ones(len(s)), a, b, c, a * b, a * c, b * c, a * b * c])

    def effects(m: int) -> np.ndarray:
        root = 0.25 * np.tril(rng.normal(size=(8, 8))) + 0.5 * np.eye(8)
        return rng.normal(size=(m, 8)) @ root.T

    y = X @ rng.normal(size=8) + (X * effects(subjects)[s]).sum(axis=1)
    y += (X * effects(items)[i]).sum(axis=1) + rng.normal(size=len(s))
    frame = pd.DataFrame({"y": y, "a": a, "b": b, "c": c})
    return frame.assign(subj=_names("s", s), item=_names("i", i))


def schools(rng: np.random.Generator, n_schools: int) -> pd.DataFrame:
    pupil = np.repeat(np.arange(10 * n_schools), 2)
    n, school = len(pupil), pupil // 10
    moved = rng.random(n) < 0.15
    school = np.where(moved, (school + rng.integers(1, 4, n)) % n_schools, school)
    x = rng.normal(size=n)
    y = 1 + 0.3 * x + rng.normal(size=10 * n_schools)[pupil] + rng.normal(size=n)
    y += rng.normal(size=n_schools)[school] + 0.5 * rng.normal(size=n_schools)[school] * x
    return pd.DataFrame(
        {"y": y, "x": x, "pupil": _names("p", pupil), "school": _names("s", school)}
    )


def _popular(rng: np.random.Generator, n: int, n_levels: int, exponent: float) -> np.ndarray:
    """Codes by a Zipf-like law, every level met."""
    weight = (np.arange(n_levels) + 10.0) ** -exponent
    codes = rng.choice(n_levels, n, p=weight / weight.sum())
    codes[rng.choice(n, n_levels, replace=False)] = np.arange(n_levels)
    return codes


def _names(prefix: str, codes: np.ndarray) -> pd.Categorical:
    return pd.Categorical.from_codes(codes, [f"{prefix}{k}" for k in range(codes.max() + 1)])


def workload(name: str) -> pd.DataFrame:
    rng = np.random.default_rng(2024)
    match name:
        case "insteval":
            return insteval(rng)
        case "ratings_small":
            return ratings(rng, 200_000, 4_000, 1_000)
        case "ratings":
            return ratings(rng, 1_000_000, 20_000, 5_000)
        case "schools_2k":
            return schools(rng, 2_000)
        case "schools_20k" | "slopes_20k":
            return schools(rng, 20_000)
        case _:
            return maximal(rng)


def fit_mlmfast(formula: str, frame: pd.DataFrame) -> dict[str, float | str]:
    import mlmfast as mlm

    fit = mlm.lmm(formula, frame)
    certificate = fit.certificate
    return {
        "llf": fit.llf,
        "evaluations": certificate.n_evaluations,
        "decrement": certificate.newton_decrement,
        "engine": certificate.engine,
    }


def fit_glmm(formula: str, frame: pd.DataFrame) -> dict[str, float | str]:
    import glmm

    fit = glmm.fit(frame, formula)
    return {"llf": float(fit.loglik)}


def measure(program: str, name: str) -> dict[str, float | str]:
    frame, formula = workload(name), FORMULAS[name]
    if program == "lme4":
        return measure_lme4(formula, frame)
    fit = {"mlmfast": fit_mlmfast, "glmm": fit_glmm}[program]
    importlib.import_module(program)  # as lme4 is loaded before it is measured
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    best, spent, cpu, found = np.inf, 0.0, np.inf, {}
    for _ in range(3):
        started, worked = time.perf_counter(), time.process_time()
        found = fit(formula, frame)
        seconds = time.perf_counter() - started
        best, spent = min(best, seconds), spent + seconds
        cpu = min(cpu, time.process_time() - worked)
        if spent > BUDGET:
            break
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": best, "cpu": cpu, "peak_mb": (peak - before) / 1024, **found}


def factorizations(name: str) -> None:
    """One evaluation with derivatives beside a Cholesky factor of the same order, one thread."""
    from scipy.linalg.lapack import dpotrf

    import mlmfast as mlm
    from mlmfast.criterion.criterion import criterion_of

    frame, formula = workload(name), FORMULAS[name]
    model = mlm.LMM(formula, frame)._reduced(None)
    criterion = criterion_of(model, "REML")
    order = model.nesting.order
    theta = np.full((1, criterion.n_theta), 2.0)
    a = np.asfortranarray(np.exp(-0.01 * np.abs(np.subtract.outer(*[np.arange(order)] * 2))))
    evaluation = factor = np.inf
    for _ in range(3):
        started = time.process_time()
        criterion(theta, np.zeros(1, dtype=np.intp))
        evaluation = min(evaluation, time.process_time() - started)
        own = a.copy(order="F")
        started = time.process_time()
        dpotrf(own, lower=1, overwrite_a=1)
        factor = min(factor, time.process_time() - started)
    times = f"evaluation {evaluation:.3f} s, factor of order {order:,} {factor:.3f} s"
    print(f"{name:15}{times}: {evaluation / factor:.2f}")


def measure_lme4(formula: str, frame: pd.DataFrame) -> dict[str, float | str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.csv"
        frame.to_csv(path, index=False)
        script = (
            "suppressMessages(library(lme4));"
            f"d <- read.csv('{path}', stringsAsFactors = TRUE);"
            "invisible(gc(reset = TRUE)); before <- sum(gc()[, 6]);"
            "quiet <- lmerControl(calc.derivs = FALSE);"
            f"t <- system.time(f <- lmer({formula}, d, control = quiet));"
            "cat(t[['elapsed']], logLik(f)[1], sum(gc()[, 6]) - before)"
        )
        done = subprocess.run(
            ["Rscript", "-e", script], capture_output=True, text=True, check=True, timeout=3600
        )
    seconds, llf, memory = map(float, done.stdout.split())
    return {"seconds": seconds, "llf": llf, "peak_mb": memory}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workloads", nargs="*", default=list(FORMULAS))
    parser.add_argument("--with", dest="programs", nargs="+", choices=PROGRAMS)
    parser.add_argument("--one", choices=PROGRAMS, help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=float, default=600.0, help="seconds a program may take")
    parser.add_argument("--before", help="Python folder of another build of mlmfast")
    parser.add_argument("--rounds", type=int, default=1, help="turns of all programs")
    parser.add_argument("--factorizations", action="store_true", help="one evaluation by its parts")
    parser.add_argument("--factorizations-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one, arguments.workloads[0])))
        return
    if arguments.factorizations_of:
        factorizations(arguments.factorizations_of)
        return
    for name in arguments.workloads:
        if arguments.factorizations:
            threads = {"OPENBLAS_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
            command = [sys.executable, __file__, "--factorizations-of", name]
            subprocess.run(command, env={**os.environ, **threads}, check=True)
            continue
        compare(name, arguments)


def compare(name: str, arguments: argparse.Namespace) -> None:
    """Run a workload by all programs, in turns; with another build its ratios at the end."""
    programs = list(arguments.programs or ("mlmfast", "glmm"))
    programs += ["before"] * bool(arguments.before)
    found: dict[str, dict[str, float]] = {}
    for _ in range(arguments.rounds):
        for program in programs:
            result = run(name, program, arguments)
            if result is not None:
                own = found.setdefault(program, {})
                for key in {"seconds", "cpu"} & result.keys():
                    own[key] = min(own.get(key, np.inf), float(result[key]))
                show(name, program, result)
    if {"mlmfast", "before"} <= found.keys():
        times = {key: found["before"][key] / found["mlmfast"][key] for key in ("seconds", "cpu")}
        print(f"{name:15}before / now {times['seconds']:.2f}, by processor {times['cpu']:.2f}")


def run(name: str, program: str, arguments: argparse.Namespace) -> dict[str, float | str] | None:
    """One program on one workload in a process of its own; None where it says why not."""
    one, environment = program, dict(os.environ)
    if program == "before":
        one, environment["PYTHONPATH"] = "mlmfast", arguments.before
    command = [sys.executable, __file__, name, "--one", one]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=arguments.limit,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        print(f"{name:15}{program:9} stopped after {arguments.limit:.0f} s", flush=True)
        return None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        print(f"{name:15}{program:9} not run: {last}", flush=True)
        return None
    found: dict[str, float | str] = json.loads(done.stdout)
    return found


def show(name: str, program: str, result: dict[str, float | str]) -> None:
    seconds, memory = float(result.pop("seconds")), float(result.pop("peak_mb"))
    cpu = f" ({float(result.pop('cpu')):.3f} of processors)" if "cpu" in result else ""
    rest = "  ".join(f"{key} {value}" for key, value in result.items())
    print(f"{name:15}{program:9}{seconds:9.3f} s{cpu} {memory:8.0f} MB  {rest}", flush=True)


if __name__ == "__main__":
    main()
