"""The benchmark workloads: seeded data frames and the model each is fitted with.

Used by the other scripts of this folder. To look at one by itself:

    python benches/workloads.py                     # list the workloads
    python benches/workloads.py W3 w3.parquet       # write one data set
    python benches/workloads.py W3 w3.parquet --shuffle

Group labels and factors are strings. Rows are sorted by group, as in most files of surveys and
repeated measurements; `--shuffle` puts them in random order. The numbers are the same on every
machine with the same NumPy.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

SLEEPSTUDY = Path(__file__).parents[1] / "python" / "mlmfast" / "data" / "sleepstudy.csv"

Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Workload:
    """A data set and its model `response ~ fixed + (slopes | groups)`, fitted by REML.

    `groups` runs from the outermost factor inwards: ("school", "class") is `(1 | school/class)`.
    `factors` are the fixed terms that are strings. `n_refits` is the number of new responses the
    model is refitted to.
    """

    name: str
    title: str
    response: str
    fixed: tuple[str, ...]
    groups: tuple[str, ...]
    simulate: Callable[[np.random.Generator], Columns]
    seed: int
    slopes: tuple[str, ...] = ()
    factors: tuple[str, ...] = ()
    n_refits: int = 0

    @property
    def fixed_formula(self) -> str:
        return f"{self.response} ~ {' + '.join(self.fixed)}"

    @property
    def random_formula(self) -> str:
        return " + ".join(self.slopes) or "1"

    @property
    def formula(self) -> str:
        return f"{self.fixed_formula} + ({self.random_formula} | {'/'.join(self.groups)})"

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column the model reads."""
        return (self.response, *self.fixed, *self.groups)

    @property
    def n_numeric(self) -> int:
        """Columns the model reads that are numbers."""
        return 1 + len(self.fixed) - len(self.factors)

    def frame(self, *, shuffle: bool = False) -> pd.DataFrame:
        columns = self.simulate(np.random.default_rng(self.seed))
        frame = pd.DataFrame(columns)[list(self.columns)]
        if shuffle:
            frame = frame.sample(frac=1.0, random_state=self.seed, ignore_index=True)
        return frame


@dataclass(frozen=True)
class Matrices:
    """y (n,), X (n, p) with intercept and dummies, Z (n, q), codes (n,) of the innermost groups."""

    y: np.ndarray
    X: np.ndarray
    Z: np.ndarray
    codes: np.ndarray


def matrices(workload: Workload, frame: pd.DataFrame) -> Matrices:
    """The matrices of the model, as a user with arrays in hand would have them."""
    one = np.ones(len(frame))
    fixed = [one]
    for term in workload.fixed:
        if term in workload.factors:
            codes, levels = pd.factorize(frame[term], sort=True)
            fixed += [(codes == level).astype(float) for level in range(1, len(levels))]
        else:
            fixed.append(frame[term].to_numpy(float))
    random = [one, *(frame[slope].to_numpy(float) for slope in workload.slopes)]
    keys = frame[list(workload.groups)]
    codes = keys.groupby(list(workload.groups), sort=True).ngroup().to_numpy()
    return Matrices(
        frame[workload.response].to_numpy(float),
        np.ascontiguousarray(np.column_stack(fixed)),
        np.ascontiguousarray(np.column_stack(random)),
        codes,
    )


def new_responses(workload: Workload, frame: pd.DataFrame, n: int) -> np.ndarray:
    """(n_obs, n): fresh group effects and noise around the ordinary least-squares fit."""
    rng = np.random.default_rng(workload.seed + 1)
    m = matrices(workload, frame)
    mean = m.X @ np.linalg.lstsq(m.X, m.y, rcond=None)[0]
    effects = rng.standard_normal((m.codes.max() + 1, m.Z.shape[1], n)) * 0.5
    noise = rng.standard_normal((len(mean), n))
    return mean[:, None] + np.einsum("iq,iqn->in", m.Z, effects[m.codes]) + noise


def labels(prefix: str, codes: np.ndarray) -> np.ndarray:
    """Zero-padded strings, so that their order is the order of the codes."""
    width = len(str(codes.max()))
    distinct = np.array([f"{prefix}{code:0{width}d}" for code in range(codes.max() + 1)], object)
    return distinct[codes]


def sorted_codes(
    rng: np.random.Generator, n: int, n_groups: int, *, unequal: bool = False
) -> np.ndarray:
    """Group of each row, ascending; with `unequal` the sizes vary by far more than by chance."""
    share = rng.gamma(1.5, size=n_groups) if unequal else np.ones(n_groups)
    sizes = 1 + rng.multinomial(n - n_groups, share / share.sum())
    return np.repeat(np.arange(n_groups), sizes)


def sleepstudy(_: np.random.Generator) -> Columns:
    frame = pd.read_csv(SLEEPSTUDY, dtype={"Subject": str})
    return {name: frame[name].to_numpy() for name in frame}


def one_factor(
    n: int,
    n_groups: int,
    n_covariates: int,
    n_slopes: int = 0,
    *,
    balanced: bool = False,
    unequal: bool = False,
) -> Callable[[np.random.Generator], Columns]:
    """Covariates x1, x2, ...; correlated random effects of 1 and the first `n_slopes` of them."""

    def simulate(rng: np.random.Generator) -> Columns:
        if balanced:
            codes = np.repeat(np.arange(n_groups), n // n_groups)
        else:
            codes = sorted_codes(rng, n, n_groups, unequal=unequal)
        x = rng.standard_normal((n_covariates, n))
        q = 1 + n_slopes
        root = np.tril(np.full((q, q), 0.2)) + np.diag(np.linspace(0.6, 0.2, q))
        effects = rng.standard_normal((n_groups, q)) @ root.T
        y = 1.0 + np.linspace(0.5, -0.5, n_covariates) @ x + rng.standard_normal(n)
        y += effects[codes, 0]
        for k in range(n_slopes):
            y += effects[codes, k + 1] * x[k]
        return {
            "y": y,
            **{f"x{k + 1}": x[k] for k in range(n_covariates)},
            "g": labels("g", codes),
        }

    return simulate


def schools(n: int, n_schools: int, classes_each: int) -> Callable[[np.random.Generator], Columns]:
    """Class labels repeat from school to school, as they do in real files."""

    def simulate(rng: np.random.Generator) -> Columns:
        code = sorted_codes(rng, n, n_schools * classes_each)
        school, within = np.divmod(code, classes_each)
        x = rng.standard_normal((3, n))
        y = 1.0 + np.array([0.5, 0.2, -0.3]) @ x + rng.standard_normal(n)
        y += 0.5 * rng.standard_normal(n_schools)[school]
        y += 0.7 * rng.standard_normal(n_schools * classes_each)[code]
        return {
            "y": y,
            "x1": x[0],
            "x2": x[1],
            "x3": x[2],
            "school": labels("school", school),
            "class": labels("class", within),
        }

    return simulate


def small_households(rng: np.random.Generator) -> Columns:
    n_groups, n = 125_000, 375_000
    codes = sorted_codes(rng, n, n_groups)
    region, sex = rng.integers(0, 8, n), rng.integers(0, 2, n)
    age = rng.integers(18, 90, n).astype(float)
    y = 20.0 + 0.05 * age + 0.3 * region - 0.8 * sex + rng.standard_normal(n)
    y += 0.8 * rng.standard_normal(n_groups)[codes]
    return {
        "income": y,
        "age": age,
        "region": labels("region", region),
        "sex": np.array(["female", "male"], object)[sex],
        "household": labels("household", codes),
    }


def covariates(n: int) -> tuple[str, ...]:
    return tuple(f"x{k + 1}" for k in range(n))


def random_slope(n: int, seed: int) -> Workload:
    exponent = len(str(n)) - 1
    return Workload(
        f"W12_1e{exponent}",
        f"random slope, 1e{exponent} rows, 100 a group",
        "y",
        covariates(3),
        ("g",),
        one_factor(n, n // 100, 3, 1, balanced=True),
        seed,
        slopes=("x1",),
    )


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(
            "W1",
            "sleepstudy, random slope, 180 rows",
            "Reaction",
            ("Days",),
            ("Subject",),
            sleepstudy,
            101,
            slopes=("Days",),
        ),
        Workload(
            "W2",
            "random intercept, 1e5 rows, 1e3 groups, 5 covariates",
            "y",
            covariates(5),
            ("g",),
            one_factor(100_000, 1_000, 5),
            102,
        ),
        Workload(
            "W3",
            "random intercept, 1e6 rows, 5e4 groups, 10 covariates",
            "y",
            covariates(10),
            ("g",),
            one_factor(1_000_000, 50_000, 10),
            103,
        ),
        Workload(
            "W4",
            "intercept + 2 slopes, 1e6 rows, 2e4 unbalanced groups, 10 covariates",
            "y",
            covariates(10),
            ("g",),
            one_factor(1_000_000, 20_000, 10, 2, unequal=True),
            104,
            slopes=("x1", "x2"),
        ),
        Workload(
            "W5",
            "nested, 5e5 rows, 1e3 schools, 2e4 classes, 3 covariates",
            "y",
            covariates(3),
            ("school", "class"),
            schools(500_000, 1_000, 20),
            105,
        ),
        Workload(
            "W10",
            "random slope, 50 groups x 10, refitted to new responses",
            "y",
            covariates(1),
            ("g",),
            one_factor(500, 50, 1, 1, balanced=True),
            110,
            slopes=("x1",),
            n_refits=1000,
        ),
        *(random_slope(10**exponent, 112 + exponent) for exponent in (4, 5, 6, 7)),
        Workload(
            "S375",
            "random intercept, 375,000 rows, 125,000 groups, 2 string factors, 1 number",
            "income",
            ("age", "region", "sex"),
            ("household",),
            small_households,
            175,
            factors=("region", "sex"),
        ),
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("workload", nargs="?", choices=WORKLOADS)
    parser.add_argument("path", nargs="?", help="Parquet file to write")
    parser.add_argument("--shuffle", action="store_true", help="rows in random order")
    arguments = parser.parse_args()
    if arguments.workload is None:
        for workload in WORKLOADS.values():
            print(f"{workload.name:8} {workload.title}\n{'':8} {workload.formula}")
        return
    frame = WORKLOADS[arguments.workload].frame(shuffle=arguments.shuffle)
    if arguments.path is None:
        print(frame)
    else:
        frame.to_parquet(arguments.path, index=False)


if __name__ == "__main__":
    main()
