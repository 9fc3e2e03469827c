"""Repeated measures: mlmfast against nlme, glmmTMB and mmrm on the same data in the same run.

    python benches/repeated.py                          # W8, W9, W11: minutes, mostly waiting for R
    python benches/repeated.py --workloads W11 --packages nlme --repeat 3
    python benches/repeated.py --timeout 600            # patience with the slow ones

W8   MMRM, 1,000 subjects x 10 visits, 20 % missing, unstructured, arm * visit
W9   MMRM, 20,000 subjects x 6 visits, 20 % missing, unstructured
W11  AR(1) residual and random intercept, 2,000 subjects x 20 equally spaced rows

A time runs from a data frame in memory to the text of the summary; the best of the runs, with the
processor's seconds, which a busy machine disturbs less. mlmfast is timed with z tests, and with
Satterthwaite's (mmrm's default) and Kenward-Roger's degrees of
freedom. A package that is not installed, fails or takes too long says so.
"""

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

import mlmfast as mlm

HERE = Path(__file__).parent
PACKAGES = ("nlme", "glmmTMB", "mmrm")


def visits(n_subjects: int, n_visits: int, missing: float, seed: int) -> pd.DataFrame:
    """Unstructured visits of subjects in two arms; missing at random, the first always seen."""
    rng = np.random.default_rng(seed)
    root = np.tril(rng.uniform(0.2, 0.6, (n_visits, n_visits))) + np.eye(n_visits)
    errors = rng.standard_normal((n_subjects, n_visits)) @ root.T
    arm = rng.integers(0, 2, n_subjects)
    mean = 10.0 + 0.3 * np.arange(n_visits) * (1 + 0.5 * arm[:, None])
    frame = pd.DataFrame(
        {
            "id": np.repeat([f"s{k:06d}" for k in range(n_subjects)], n_visits),
            "visit": np.tile([f"v{k:02d}" for k in range(n_visits)], n_subjects),
            "arm": np.repeat(np.array(["placebo", "active"])[arm], n_visits),
            "y": (mean + errors).ravel(),
        }
    )
    seen = rng.random((n_subjects, n_visits)) >= missing
    seen[:, 0] = True
    return frame[seen.ravel()].reset_index(drop=True)


def series(n_subjects: int, n_times: int, seed: int) -> pd.DataFrame:
    """Random intercepts of standard deviation 1, residuals with lag-one correlation 0.6."""
    rng = np.random.default_rng(seed)
    e = rng.standard_normal((n_subjects, n_times))
    for t in range(1, n_times):
        e[:, t] = 0.6 * e[:, t - 1] + 0.8 * e[:, t]
    x = rng.standard_normal((n_subjects, n_times))
    y = 2.0 + 0.5 * x + rng.standard_normal((n_subjects, 1)) + e
    return pd.DataFrame(
        {
            "id": np.repeat([f"s{k:05d}" for k in range(n_subjects)], n_times),
            "time": np.tile(np.arange(n_times), n_subjects),
            "x": x.ravel(),
            "y": y.ravel(),
        }
    )


WORKLOADS: dict[str, tuple[Callable[[], pd.DataFrame], str, str]] = {
    "W8": (lambda: visits(1_000, 10, 0.2, 8), "y ~ arm * visit", "us(visit | id)"),
    "W9": (lambda: visits(20_000, 6, 0.2, 9), "y ~ arm * visit", "us(visit | id)"),
    "W11": (lambda: series(2_000, 20, 11), "y ~ x + (1 | id)", "ar1(time | id)"),
}


def ours(frame: pd.DataFrame, formula: str, residual: str, repeat: int, ddf: str) -> dict:
    mlm.lmm(formula, frame[frame["id"].isin(frame["id"].unique()[:60])], residual=residual)
    times, cpu, fit = [], [], None
    for _ in range(repeat):
        start, worked = time.perf_counter(), time.process_time()
        fit = mlm.lmm(formula, frame, residual=residual, ddf=ddf)
        str(fit.summary())
        times.append(time.perf_counter() - start)
        cpu.append(time.process_time() - worked)
    assert fit is not None
    return {
        "times": times,
        "cpu": cpu,
        "llf": fit.llf,
        "evaluations": fit.certificate.n_evaluations,
    }


def theirs(package: str, workload: str, table: Path, repeat: int, timeout: float) -> dict:
    out = table.with_suffix(".json")
    out.unlink(missing_ok=True)
    command = ["Rscript", str(HERE / "repeated.R"), package, workload]
    try:
        done = subprocess.run(
            [*command, str(table), str(out), str(repeat)],
            timeout=timeout,
            capture_output=True,
            text=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"stopped after {timeout:g} s"}
    except FileNotFoundError:
        return {"error": "R is not installed"}
    if not out.exists():
        lines = done.stderr.strip().splitlines() or ["failed"]
        missing = "there is no package" in done.stderr
        return {"error": "not installed" if missing else lines[-1][:60]}
    return json.loads(out.read_text())


def show(name: str, result: dict, own: dict) -> None:
    if "error" in result:
        print(f"  {name:28} {result['error']}")
        return
    best = min(result["times"])
    ratio, worked = best / min(own["times"]), min(result["cpu"])
    extra = f"{result['evaluations']} evaluations" if "evaluations" in result else ""
    print(
        f"  {name:28} {best:9.3f} s  {ratio:8.1f} x  cpu {worked:8.3f} s "
        f"{worked / min(own['cpu']):7.1f} x  llf {result['llf']:.6f} "
        f"({result['llf'] - own['llf']:+.1e})  {extra}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workloads", default="W8,W9,W11")
    parser.add_argument("--packages", default=",".join(PACKAGES))
    parser.add_argument("--repeat", type=int, default=1, help="runs of the R packages")
    parser.add_argument("--timeout", type=float, default=200.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for workload in arguments.workloads.split(","):
            simulate, formula, residual = WORKLOADS[workload]
            frame = simulate()
            table = Path(folder) / f"{workload}.csv"
            frame.to_csv(table, index=False)
            print(f"{workload}: {formula}, residual {residual}, {len(frame):,} rows")
            own = ours(frame, formula, residual, 5, "asymptotic")
            show(f"mlmfast {mlm.__version__}", own, own)
            for ddf in ("satterthwaite", "kenward-roger"):
                show(f"mlmfast, {ddf}", ours(frame, formula, residual, 3, ddf), own)
            for package in arguments.packages.split(","):
                result = theirs(package, workload, table, arguments.repeat, arguments.timeout)
                show(f"{package} {result.get('version', '')}", result, own)


if __name__ == "__main__":
    main()
