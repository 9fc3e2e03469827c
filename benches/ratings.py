"""Ratings of products by users, MovieLens-shaped: times, memory, estimates against the truth.

Popularity of products and activity of users follow Zipf-like laws, every user and product occurs.

    python benches/ratings.py 1e6 1e7 --engine iterative

Sizes: 1e5 (4,000 x 1,000), 1e6 (20,000 x 5,000), 1e7 (160,000 x 60,000), 3.2e7 (200,000 x 84,000).
Each fit runs in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

LEVELS = {
    100_000: (4_000, 1_000),
    1_000_000: (20_000, 5_000),
    10_000_000: (160_000, 60_000),
    32_000_000: (200_000, 84_000),
}
#: Standard deviations of users, products, their slopes on x, and the residual.
TRUTH = {"user": 0.45, "movie": 0.5, "slope": 0.2, "residual": 0.85}


def activity(n_levels: int, exponent: float, offset: float) -> np.ndarray:
    """Zipf-Mandelbrot probabilities, (rank + offset)^-exponent."""
    weight = (np.arange(n_levels) + offset) ** -exponent
    return weight / weight.sum()


def draw_codes(rng: np.random.Generator, n: int, n_levels: int, law: np.ndarray) -> np.ndarray:
    """Levels of n rows by the law, every level at least once, in no order."""
    edges = np.cumsum(law)
    codes = np.empty(n, dtype=np.int32)
    for start in range(0, n, 1 << 22):
        stop = min(n, start + (1 << 22))
        codes[start:stop] = np.searchsorted(edges, rng.random(stop - start))
    np.minimum(codes, n_levels - 1, out=codes)
    where = rng.choice(n, size=n_levels, replace=False)
    codes[where] = np.arange(n_levels, dtype=np.int32)
    label = rng.permutation(n_levels).astype(np.int32)
    return label[codes]


def ratings(n: int, slope: bool = False, seed: int = 1) -> dict[str, np.ndarray]:
    """Columns y, x, user and movie of n ratings."""
    users, movies = LEVELS[n]
    rng = np.random.default_rng(seed)
    user = draw_codes(rng, n, users, activity(users, 0.9, 40.0))
    movie = draw_codes(rng, n, movies, activity(movies, 1.1, 60.0))
    x = rng.standard_normal(n)
    y = 3.5 + 0.1 * x
    y += TRUTH["user"] * rng.standard_normal(users)[user]
    y += TRUTH["movie"] * rng.standard_normal(movies)[movie]
    if slope:
        y += TRUTH["slope"] * rng.standard_normal(users)[user] * x
    y += TRUTH["residual"] * rng.standard_normal(n)
    return {"y": y, "x": x, "user": user, "movie": movie}


def formula(slope: bool) -> str:
    """The model fitted."""
    return f"y ~ 1 + x + ({'1 + x' if slope else '1'} | user) + (1 | movie)"


def run(n: int, slope: bool, engine: str, options: dict[str, object], strings: bool) -> None:
    """Make the data, fit, and print one line of JSON."""
    import pandas as pd

    import mlmfast as mlm

    data = ratings(n, slope)
    frame = pd.DataFrame(data)
    if strings:
        for name, letter in (("user", "u"), ("movie", "m")):
            frame[name] = (letter + frame[name].astype(str)).astype("string[pyarrow]")
    del data
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    chosen = options if engine == "automatic" else {"engine": engine, **options}
    model = mlm.LMM(formula(slope), frame)
    fit = model.fit(options=chosen)
    text = str(fit.summary())
    seconds = time.perf_counter() - started
    found: dict[str, object] = {
        "rows": n,
        "levels": LEVELS[n],
        "formula": formula(slope),
        "engine": fit.certificate.engine,
        "seconds": round(seconds, 2),
        "timings": {name: round(value, 2) for name, value in fit.timings.items()},
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "data_mb": before // 1024,
        "llf": fit.llf,
        "evaluations": fit.certificate.n_evaluations,
        "sd": {
            name: np.sqrt(np.diag(matrix)).round(6).tolist() for name, matrix in fit.varcorr.items()
        },
        "sigma": round(float(fit.sigma), 6),
        "beta": fit.params.round(6).tolist(),
        "truth": TRUTH,
    }
    error = fit.monte_carlo_error
    if error is not None:
        found["llf_error"] = error.llf
        found["variance_errors"] = [
            *(np.diag(matrix).tolist() for matrix in error.covariances),
            error.sigma2,
        ]
    print(json.dumps({"text": text, **found}))


def main() -> None:
    """Fit each size asked for in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sizes", nargs="*", default=["1e6"], help="1e5, 1e6, 1e7, 3.2e7")
    parser.add_argument("--engine", default="automatic", help="automatic, iterative or crossed")
    parser.add_argument("--slope", action="store_true", help="a random slope of x by user")
    parser.add_argument("--strings", action="store_true", help="labels that are strings")
    parser.add_argument("--probes", type=int, help="random probes of the iterative engine")
    parser.add_argument("--summary", action="store_true", help="print the summary too")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    options: dict[str, object] = {} if given.probes is None else {"probes": given.probes}
    for size in given.sizes:
        n = round(float(size))
        if n not in LEVELS:
            sys.exit(f"size {size} is not one of {', '.join(f'{k:.1e}' for k in LEVELS)}")
        if given.child:
            run(n, given.slope, given.engine, options, given.strings)
            continue
        flags = [a for a in sys.argv[1:] if a not in given.sizes]
        command = [sys.executable, __file__, size, *flags, "--child"]
        out = subprocess.run(command, capture_output=True, text=True, check=False)
        if out.returncode:
            print(out.stderr, file=sys.stderr)
            sys.exit(out.returncode)
        found = json.loads(out.stdout)
        text = found.pop("text")
        if given.summary:
            print(text)
        for name, value in found.items():
            print(f"{name:>18}: {value}")


if __name__ == "__main__":
    main()
