"""How many replicates of a power simulation a second, against simr and a loop over statsmodels?

    python benches/power.py
    python benches/power.py --r-library FOLDER     where simr is installed

All draw responses of one model, fit it and test one coefficient. Seconds are those of the
processor, so that a busy machine does not count; z is the difference of a share of rejections from
mlmfast's over its Monte Carlo error.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import warnings

import numpy as np
import pandas as pd

import mlmfast as mlm

DESIGNS = {
    "30 rows, 3 groups": {"g": 3, "x": 10, "b": -0.1, "tau": 0.5},
    "300 rows, 30 groups": {"g": 30, "x": 10, "b": -0.05, "tau": 0.5},
}

R = """
suppressMessages(library(simr, lib.loc = c({library}.libPaths())))
simrOptions(progress = FALSE)
d <- expand.grid(x = 1:{x}, g = factor(1:{g}))
m <- makeLmer(y ~ x + (1 | g), fixef = c(2, {b}), VarCorr = {tau}, sigma = 1, data = d)
t0 <- sum(proc.time()[c(1, 2)])
p <- suppressMessages(suppressWarnings(powerSim(m, fixed("x", "{test}"), nsim = {n}, seed = 1)))
s <- summary(p)
cat(sprintf('{{"rejected": %d, "n": %d, "seconds": %f, "version": "%s"}}\\n',
            s$successes, s$trials, sum(proc.time()[c(1, 2)]) - t0, packageVersion("simr")))
"""

#: What simr calls the test, and mlmfast.
TESTS = {
    "likelihood ratio": ("lr", {"test_method": "lr"}),
    "Satterthwaite": ("t", {}),
    "Kenward-Roger": ("kr", {"ddf": "kenward-roger-expected"}),
}


def processor():
    """Seconds of this process and its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def design_of(size):
    return mlm.design(
        "y ~ x + (1 | g)",
        levels={"g": size["g"], "x": range(1, size["x"] + 1)},
        params={"(Intercept)": 2, "x": size["b"]},
        varcorr={"g": size["tau"]},
        sigma=1,
    )


def with_mlmfast(size, n, call):
    design = design_of(size)
    mlm.power(design, "x", n=20, seed=0, **call)
    started, clock = processor(), time.perf_counter()
    curve = mlm.power(design, "x", n=n, seed=1, **call)
    return {
        "rejected": round(float(curve["power"].iloc[0]) * n),
        "n": n,
        "seconds": processor() - started,
        "clock": time.perf_counter() - clock,
    }


def with_simr(size, n, test, library):
    own = f'"{library}", ' if library else ""
    text = R.format(library=own, test=test, n=n, **size)
    try:
        done = subprocess.run(
            ["Rscript", "-e", text], capture_output=True, text=True, check=True, timeout=3600
        )
        return json.loads(done.stdout.strip().splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        return {"error": str(error)[:60]}


def with_statsmodels(size, n):
    try:
        import statsmodels.formula.api as smf
    except ImportError:
        return {"error": "not installed"}
    design, rejected = design_of(size), 0
    Y = design.simulate(n, seed=1)
    started = processor()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for y in Y.T:
            data = design.data.assign(y=y)
            fit = smf.mixedlm("y ~ x", data, groups=data["g"]).fit(reml=True)
            rejected += bool(fit.pvalues["x"] < 0.05)
    return {"rejected": rejected, "n": n, "seconds": processor() - started}


def compared(own, other):
    """A peer's row: share, how far from mlmfast's, and how much slower."""
    if "error" in other:
        return {"share": np.nan, "z": np.nan, "ms": np.nan, "ratio": np.nan, "": other["error"]}
    p, q = own["rejected"] / own["n"], other["rejected"] / other["n"]
    middle = (own["rejected"] + other["rejected"]) / (own["n"] + other["n"])
    error = np.sqrt(middle * (1 - middle) * (1 / own["n"] + 1 / other["n"]))
    each = other["seconds"] / other["n"]
    return {
        "share": q,
        "z": (q - p) / error,
        "ms": 1000 * each,
        "ratio": each / (own["seconds"] / own["n"]),
        "": "",
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=4000, help="replicates of mlmfast")
    parser.add_argument("--peers", type=int, default=100, help="replicates of the others")
    parser.add_argument("--r-library", default="", help="folder that simr is installed in")
    arguments = parser.parse_args()
    rows = []
    for name, size in DESIGNS.items():
        for test, (simr, call) in TESTS.items():
            own = with_mlmfast(size, arguments.n, call)
            row = {"design": name, "test": test}
            rows.append(
                {**row, "by": "mlmfast", "share": own["rejected"] / own["n"],
                 "ms": 1000 * own["seconds"] / own["n"], "ratio": 1.0, "": ""}
            )  # fmt: skip
            peer = with_simr(size, arguments.peers, simr, arguments.r_library)
            rows.append({**row, "by": "simr", **compared(own, peer)})
        own = with_mlmfast(size, arguments.n, {"ddf": "asymptotic"})
        row = {"design": name, "test": "z"}
        rows.append(
            {**row, "by": "mlmfast", "share": own["rejected"] / own["n"],
             "ms": 1000 * own["seconds"] / own["n"], "ratio": 1.0, "": ""}
        )  # fmt: skip
        peer = with_statsmodels(size, arguments.peers)
        rows.append({**row, "by": "statsmodels, a loop", **compared(own, peer)})
    table = pd.DataFrame(rows).round({"share": 3, "z": 1, "ms": 3, "ratio": 0})
    print(
        f"{os.cpu_count()} processors, Python {sys.version.split()[0]}; ms: of the processor, a fit"
    )
    print(table.to_string(index=False, na_rep="-"))


if __name__ == "__main__":
    main()
