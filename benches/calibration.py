"""Size of 5 % tests and coverage of 95 % intervals, by method of degrees of freedom.

    python benches/calibration.py [--n 2000] [--seed 1] [--design NAME ...] [--method NAME ...]

Responses are drawn under the hypothesis, refitted as one batch, and tested by every method. Designs
follow published simulation studies, all with few clusters or subjects. Coverage of the 95 %
interval of a single function is 1 less the size of its test. Monte Carlo standard errors are those
of a proportion.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

import mlmfast as mlm

METHODS = (
    "asymptotic",
    "residual",
    "containment",
    "between-within",
    "satterthwaite",
    "kenward-roger",
    "kenward-roger-linear",
    "kenward-roger-expected",
    "kenward-roger-2009",
)


@dataclass(frozen=True)
class Study:
    """One design: data, model, what is tested, and the covariance that responses are drawn from."""

    about: str
    data: Callable[[np.random.Generator], pd.DataFrame]
    formula: str
    single: str
    joint: tuple[str, ...]
    draw: Callable[[pd.DataFrame, np.random.Generator, int], np.ndarray]
    residual: str | None = None
    skips: tuple[str, ...] = field(default=())


def crossed_grid(n_subjects: int, n_visits: int, missing: float, seed: int) -> pd.DataFrame:
    """Subjects in two arms by visits; a share of the later visits missing."""
    rng = np.random.default_rng(seed)
    subject = np.repeat(np.arange(n_subjects), n_visits)
    visit = np.tile(np.arange(n_visits), n_subjects)
    frame = pd.DataFrame(
        {
            "subject": [f"s{k:02d}" for k in subject],
            "visit": [f"v{k}" for k in visit],
            "time": visit.astype(float),
            "arm": np.where(subject % 2, "b", "a"),
        }
    )
    kept = (visit == 0) | (rng.uniform(size=len(frame)) >= missing)
    return frame[kept].reset_index(drop=True)


def random_effects(frame: pd.DataFrame, group: str, rng: np.random.Generator, n: int) -> np.ndarray:
    """Standard normal effects of the levels of a factor, by row, (rows, n)."""
    codes = pd.factorize(frame[group])[0]
    return rng.normal(size=(codes.max() + 1, n))[codes]


def with_visits(
    frame: pd.DataFrame, covariance: np.ndarray, rng: np.random.Generator, n: int
) -> np.ndarray:
    """Residuals with a covariance over visits within subjects, (rows, n)."""
    codes = pd.factorize(frame["subject"])[0]
    root = np.linalg.cholesky(covariance)
    whole = np.einsum("vw,swn->svn", root, rng.normal(size=(codes.max() + 1, len(root), n)))
    return whole[codes, frame["time"].astype(int)]


def cluster_trial(rng: np.random.Generator) -> pd.DataFrame:
    """10 clusters of 3 to 14 rows, half of them treated."""
    sizes = np.array([3, 14, 5, 8, 12, 4, 10, 6, 9, 7])
    cluster = np.repeat(np.arange(10), sizes)
    return pd.DataFrame(
        {"cluster": cluster.astype(str), "arm": np.where(cluster % 2, "b", "a")}
    ).assign(x=np.random.default_rng(4).normal(size=len(cluster)))


def incomplete_blocks(rng: np.random.Generator) -> pd.DataFrame:
    """15 blocks of 4 of 6 treatments, each pair equally often or nearly so."""
    from itertools import combinations

    rows = [(b, t) for b, chosen in enumerate(combinations(range(6), 4)) for t in chosen]
    frame = pd.DataFrame(rows, columns=["block", "treatment"])
    return frame.assign(
        block=frame.block.map("b{:02d}".format), treatment=frame.treatment.map("t{}".format)
    )


def ar1(rho: float, k: int) -> np.ndarray:
    return rho ** np.abs(np.subtract.outer(np.arange(k), np.arange(k)))


GROWING = ar1(0.7, 4) * np.outer([1.0, 1.3, 1.6, 2.0], [1.0, 1.3, 1.6, 2.0])

STUDIES = {
    "clusters": Study(
        "10 clusters of 3 to 14 rows, treatment by cluster, ICC 0.2 (as McNeish 2017)",
        cluster_trial,
        "y ~ arm + x + (1 | cluster)",
        "armb",
        ("armb", "x"),
        lambda d, rng, n: 0.5 * random_effects(d, "cluster", rng, n) + rng.normal(size=(len(d), n)),
    ),
    "blocks": Study(
        "15 incomplete blocks of 4 of 6 treatments, block variance half the residual's (as Kenward "
        "and Roger 1997)",
        incomplete_blocks,
        "y ~ treatment + (1 | block)",
        "treatmentt5",
        tuple(f"treatmentt{k}" for k in range(1, 6)),
        lambda d, rng, n: 0.7 * random_effects(d, "block", rng, n) + rng.normal(size=(len(d), n)),
    ),
    "slopes": Study(
        "10 subjects, 6 visits, 25 % missing, random slopes (as Luke 2017)",
        lambda rng: crossed_grid(10, 6, 0.25, 11),
        "y ~ time * arm + (time | subject)",
        "time:armb",
        ("armb", "time:armb"),
        lambda d, rng, n: (
            random_effects(d, "subject", rng, n)
            + 0.4 * random_effects(d, "subject", rng, n) * d["time"].to_numpy()[:, None]
            + rng.normal(size=(len(d), n))
        ),
    ),
    "ar1": Study(
        "12 subjects in 2 arms, 5 visits, AR(1) with rho 0.6 (as Schaalje et al. 2002)",
        lambda rng: crossed_grid(12, 5, 0.15, 12),
        "y ~ arm * visit",
        "armb:visitv4",
        tuple(f"armb:visitv{k}" for k in range(1, 5)),
        lambda d, rng, n: with_visits(d, ar1(0.6, 5), rng, n),
        residual="ar1(visit | subject)",
        skips=("containment",),
    ),
    "unstructured": Study(
        "20 subjects in 2 arms, 4 visits, 15 % missing, unstructured (a small MMRM)",
        lambda rng: crossed_grid(20, 4, 0.15, 13),
        "y ~ arm * visit",
        "armb:visitv3",
        tuple(f"armb:visitv{k}" for k in range(1, 4)),
        lambda d, rng, n: with_visits(d, GROWING, rng, n),
        residual="us(visit | subject)",
        skips=("containment",),
    ),
}


def run(study: Study, n: int, seed: int, methods: tuple[str, ...]) -> pd.DataFrame:
    """Share of rejections at 5 % by method, single and joint, with Monte Carlo errors."""
    rng = np.random.default_rng(seed)
    data = study.data(rng)
    responses = study.draw(data, rng, n)
    model = mlm.LMM(study.formula, data.assign(y=responses[:, 0]), residual=study.residual)
    batch = model.fit_many(responses)
    good = batch.converged
    rows = []
    for method in methods:
        if method in study.skips:
            continue
        one = batch.tests(study.single, ddf=method)
        several = batch.tests(list(study.joint), ddf=method)
        single = np.mean(one.pvalue[good, 0] < 0.05)
        joint = np.mean(several.f_pvalue[good] < 0.05)
        error = np.sqrt([p * (1 - p) / good.sum() for p in (single, joint)])
        rows.append(
            {
                "method": method,
                "size, t": 100 * single,
                "+-": 100 * error[0],
                "coverage": 100 * (1 - single),
                "size, F": 100 * joint,
                "+- ": 100 * error[1],
                "median df": float(np.median(one.df[good])),
            }
        )
    frame = pd.DataFrame(rows).set_index("method")
    frame.attrs["fits"] = f"{int(good.sum())} of {n} fits, {int(batch.singular.sum())} singular"
    return frame


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--n", type=int, default=2000, help="responses a design")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--design", nargs="*", default=list(STUDIES), choices=list(STUDIES))
    parser.add_argument("--method", nargs="*", default=list(METHODS), choices=list(METHODS))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", mlm.SingularFitWarning)
    for name in arguments.design:
        started = time.perf_counter()
        table = run(STUDIES[name], arguments.n, arguments.seed, tuple(arguments.method))
        print(f"\n{name}: {STUDIES[name].about}")
        print(f"{table.attrs['fits']}, {time.perf_counter() - started:.0f} s; per cent")
        print(table.round(1).to_string())


if __name__ == "__main__":
    main()
