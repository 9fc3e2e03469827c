"""The same calls of `mixedlm` with statsmodels and with mlmfast.statsmodels, in one run.

    python benches/statsmodels_interface.py   # documentation examples and 1e5 rows: minutes
    python benches/statsmodels_interface.py --only dietox
    python benches/statsmodels_interface.py --only scikit-bio   # needs scikit-bio 0.7.4

Needs statsmodels. A time is that of the whole call, from formula and frame to `params`, `bse` and
`pvalues`; the two packages take turns, and the smallest of `--repeat` turns is taken. "llf" is what
mlmfast's log-likelihood is above statsmodels', "se" the largest relative difference of the fixed
effects' standard errors.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

# This folder holds a file of the same name.
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).parent]

import statsmodels  # noqa: E402
import statsmodels.formula.api as theirs  # noqa: E402

import mlmfast.statsmodels as ours  # noqa: E402

RESULTS = Path(statsmodels.__file__).parent / "regression" / "tests" / "results"


@dataclass
class Call:
    """A call of `mixedlm`."""

    formula: str
    data: pd.DataFrame
    said: dict[str, Any] = field(default_factory=dict)
    repeat: int | None = None

    def __call__(self, mixedlm: Callable[..., Any]) -> Any:
        fit = mixedlm(self.formula, self.data, **self.said).fit()
        return fit, fit.params, fit.bse, fit.pvalues


def nested(n_groups: int = 200, n_classes: int = 20, size: int = 10) -> pd.DataFrame:
    """Classes within groups, as the documentation's notebook on variance components has them."""
    rng = np.random.default_rng(3452)
    n = n_groups * n_classes * size
    group = np.arange(n) // (n_classes * size)
    inner = np.arange(n) // size
    y = rng.normal(0, 2, n_groups)[group] + rng.normal(0, 3, n_groups * n_classes)[inner]
    return pd.DataFrame({"y": y + rng.normal(0, 4, n), "group1": group, "group2": inner})


def crossed(n: int = 4000, levels: int = 50) -> pd.DataFrame:
    """Two crossed factors, all rows in one group, as the same notebook has them."""
    rng = np.random.default_rng(5)
    one, other = rng.integers(0, levels, (2, n))
    y = rng.normal(0, 2, levels)[one] + rng.normal(0, 3, levels)[other] + rng.normal(0, 4, n)
    return pd.DataFrame({"y": y, "g1": one, "g2": other, "all": 1})


def large(n: int = 100_000, n_groups: int = 2_000) -> pd.DataFrame:
    """A random slope by group, string labels."""
    rng = np.random.default_rng(1)
    group = rng.integers(0, n_groups, n)
    x = rng.normal(size=n)
    y = 1.0 + x + rng.normal(size=n_groups)[group] + 0.5 * rng.normal(size=n_groups)[group] * x
    labels = np.array([f"g{k}" for k in range(n_groups)], dtype=object)
    return pd.DataFrame({"y": y + rng.normal(size=n), "x": x, "g": labels[group]})


def calls() -> dict[str, Call]:
    pigs = pd.read_csv(RESULTS / "dietox.csv")
    pastes = pd.read_csv(RESULTS / "pastes.csv")
    by_pig = {"groups": pigs["Pig"]}
    casks = {"groups": "batch", "re_formula": "1", "vc_formula": {"cask": "0 + cask"}}
    inner = {"groups": "group1", "re_formula": "1", "vc_formula": {"group2": "0 + C(group2)"}}
    both = {"groups": "all", "vc_formula": {"g1": "0 + C(g1)", "g2": "0 + C(g2)"}}
    slope = {**by_pig, "re_formula": "1", "vc_formula": {"Time": "0 + Time"}}
    return {
        "dietox, intercepts": Call("Weight ~ Time", pigs, by_pig),
        "dietox, slopes": Call("Weight ~ Time", pigs, {**by_pig, "re_formula": "~Time"}),
        "dietox, uncorrelated slopes": Call("Weight ~ Time", pigs, slope),
        "pastes, casks in batches": Call("strength ~ 1", pastes, casks),
        "nested, 40,000 rows": Call("y ~ 1", nested(), inner, 2),
        "crossed, 4,000 rows": Call("y ~ 1", crossed(), both, 2),
        "1e5 rows, 2,000 slopes": Call("y ~ x", large(), {"groups": "g", "re_formula": "~x"}, 1),
    }


def compare(name: str, call: Call, repeat: int) -> None:
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    fits = {}
    call(ours.mixedlm)
    for _ in range(call.repeat or repeat):
        for who, mixedlm in (("ours", ours.mixedlm), ("theirs", theirs.mixedlm)):
            # A short call is repeated for as long as a busy machine may disturb it.
            until = time.perf_counter() + 0.5
            while True:
                started = time.perf_counter()
                fits[who] = call(mixedlm)[0]
                now = time.perf_counter()
                times[who].append(now - started)
                if now > until:
                    break
    mine, other = min(times["ours"]), min(times["theirs"])
    above = fits["ours"].llf - fits["theirs"].llf
    error = np.abs(np.asarray(fits["ours"].bse_fe) / np.asarray(fits["theirs"].bse_fe) - 1.0).max()
    state = "converged" if fits["theirs"].converged else "statsmodels did not converge"
    print(
        f"| {name} | {other * 1e3:.0f} | {mine * 1e3:.1f} | {other / mine:.0f} | {above:.1e} "
        f"| {error:.1e} | {state} |",
        flush=True,
    )


def scikit_bio(said: dict[str, Any]) -> None:
    """`dirmult_lme` where it calls MixedLM for each feature and draw."""
    from skbio.stats.composition import dirmult_lme

    rng = np.random.default_rng(7)
    n_people, n_times, n_features = 80, 5, 8
    n = n_people * n_times
    person, month = np.arange(n) // n_times, np.tile(np.arange(n_times), n_people)
    rate = rng.normal(3.0, 0.5, n_features) + rng.normal(0, 0.4, (n_people, n_features))[person]
    rate += rng.normal(0, 0.3, (n_people, n_features))[person] * month[:, None]
    counts = rng.poisson(np.exp(rate + 0.1 * rng.normal(size=(n, n_features))))
    rows = [f"s{k}" for k in range(n)]
    table = pd.DataFrame(counts, index=rows, columns=[f"f{k}" for k in range(n_features)])
    facts = {"month": month.astype(float), "person": [f"p{k}" for k in person]}
    metadata = pd.DataFrame(facts, index=rows)

    def run() -> tuple[float, pd.DataFrame]:
        started = time.perf_counter()
        found = dirmult_lme(table, metadata, "month", "person", draws=3, seed=0, **said)
        return time.perf_counter() - started, found

    theirs_time, expected = run()
    ours.install(se="statsmodels")
    try:
        ours_time, found = min((run() for _ in range(3)), key=lambda pair: pair[0])
    finally:
        ours.uninstall()
    names = ["Log2(FC)", "CI(2.5)", "CI(97.5)", "pvalue"]
    apart = np.abs(found[names].to_numpy() - expected[names].to_numpy()).max()
    print(
        f"scikit-bio dirmult_lme, {n_features} features x 3 draws, {n} rows, {said}: "
        f"{theirs_time * 1e3:.0f} ms with statsmodels, {ours_time * 1e3:.0f} ms here, ratio "
        f"{theirs_time / ours_time:.0f}; largest difference of a number {apart:.1e}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="calls whose name holds this")
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    print("| call | statsmodels, ms | here, ms | ratio | llf | se | |")
    print("|---|---|---|---|---|---|---|")
    for name, call in calls().items():
        if arguments.only in name:
            compare(name, call, arguments.repeat)
    if arguments.only in "scikit-bio":
        try:
            scikit_bio({"fit_method": "bfgs"})
            scikit_bio({"re_formula": "~month"})
        except ImportError as error:
            print(f"scikit-bio: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
