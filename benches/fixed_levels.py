"""Time and memory of a factor of many levels in the fixed part, each fit in a process of its own.

    python benches/fixed_levels.py            # all cases, eliminated
    python benches/fixed_levels.py --columns  # the smaller ones as columns of X too

Cases: the factor's levels in clusters of a random slope ("nested"), crossed with a random intercept
of fewer levels ("crossing"), of more ("many clusters"), and clusters inside its levels ("outer").
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time

import numpy as np

#: Name, levels of the factor, rows, levels of the random effect.
CASES = [
    (kind, levels, rows, groups)
    for levels, rows in ((1_000, 50_000), (5_000, 100_000), (100_000, 1_000_000))
    for kind, groups in (
        ("nested", levels // 20),
        ("crossing", 200),
        ("many clusters", 2 * levels),
        ("outer", 3 * levels),
    )
    if kind != "many clusters" or levels < 100_000
]
#: Levels up to which columns of X are tried.
LARGEST_DENSE = 1_000


def simulate(kind: str, levels: int, rows: int, groups: int) -> tuple[str, dict[str, np.ndarray]]:
    """A formula and data."""
    rng = np.random.default_rng(1)
    f = rng.integers(0, levels, rows)
    f[:levels] = np.arange(levels)
    x, t = rng.normal(size=(2, rows))
    if kind == "nested":
        g = f // 20
    elif kind == "outer":
        g = 3 * f + rng.integers(0, 3, rows)
    else:
        g = rng.integers(0, groups, rows)
    n = int(g.max()) + 1
    effect = rng.normal(size=n)[g] * (t if kind == "nested" else 1.0)
    y = x + rng.normal(size=levels)[f] + effect + rng.normal(size=rows)
    random = "(0 + t | g)" if kind == "nested" else "(1 | g)"
    names = np.array([f"f{k:06d}" for k in range(levels)])
    return f"y ~ x + f + {random}", {"y": y, "x": x, "t": t, "f": names[f], "g": g}


def run(kind: str, levels: int, rows: int, groups: int, absorb: bool) -> None:
    """Fit one case and print seconds of the fit and of what follows, and the peak of memory."""
    import pandas as pd

    import mlmfast as mlm

    formula, columns = simulate(kind, levels, rows, groups)
    columns["g"] = columns["g"].astype(str)
    data = pd.DataFrame(columns)
    data["f"] = data["f"].astype("category")
    data["g"] = data["g"].astype("category")
    before = peak()
    started, cpu = time.perf_counter(), time.process_time()
    fit = mlm.lmm(formula, data, **({} if absorb else {"absorb": False}))
    fitted = time.perf_counter()
    table = (len(fit.params), float(fit.bse.iloc[-1]), float(fit.df.iloc[-1]))
    done = time.perf_counter()
    print(
        f"{kind:14} {levels:7,} levels {rows:9,} rows  {'eliminated' if absorb else 'columns':10} "
        f"fit {fitted - started:6.2f} s, errors and Satterthwaite df {done - fitted:6.2f} s, "
        f"{peak():5,.0f} MB ({before:,.0f} before), CPU {time.process_time() - cpu:6.2f} s  "
        f"{fit.deviance:.4f} {table[1]:.6g} {table[2]:.6g}"
    )


def peak() -> float:
    """Largest resident size of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Run every case, or the one given by its number."""
    if len(sys.argv) > 2 and sys.argv[1] == "case":
        run(*CASES[int(sys.argv[2])], absorb=sys.argv[3] == "eliminated")
        return
    for number, (_, levels, _, _) in enumerate(CASES):
        both = "--columns" in sys.argv and levels <= LARGEST_DENSE
        for how in ("eliminated", "columns") if both else ("eliminated",):
            subprocess.run([sys.executable, __file__, "case", str(number), how], check=False)


if __name__ == "__main__":
    main()
