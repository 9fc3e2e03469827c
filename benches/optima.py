"""Does every fit that says it converged end at the lowest minimum there is?

    python benches/optima.py                              # 2,000 random designs
    python benches/optima.py --from 500 --to 600          # a slice of them
    python benches/optima.py --only 17                    # one problem, by its index
    python benches/optima.py --minutes 30 --json out.jsonl   # a line a fit; goes on where it ended
    python benches/optima.py --seconds 60                 # lists problems that take more time

Repeated measures of 6-24 subjects at 3-7 visits, 20-170 rows: every residual structure in turn,
alone and beside random effects, by arm, with a residual scale, and every structure of random
effects; ML and REML. Half of them are made near a boundary: variances of 0, correlations next to
-1 or 1, few subjects. A problem follows from the seed and its index alone.

The other side is the dense likelihood (V whole, in NumPy, no code of the reduction or the
iteration) minimised by a quasi-Newton method from several random starts, which know nothing of
those of the fit. Where V becomes singular on the way the likelihood has no maximum, and the
problem does not count. A fit is short when it says `converged` and a dense start ends lower by more
than 1e-3. The exit code is 1 if more than one in 1,000 is.
"""

import argparse
import json
import signal
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from mlmfast.covariance import STRUCTURES
from mlmfast.covariance.scaled_angles import ScaledAngles
from mlmfast.covariance.structures.unstructured import Unstructured
from mlmfast.errors import ModelError

SHORT = 1e-3
N_STARTS = 8
#: Smallest eigenvalue of V over its largest below which a likelihood is taken to have no maximum.
SINGULAR = 1e-9
RESIDUAL = tuple(sorted(set(STRUCTURES) - {"lin", "car1", "homdiag"}))
RANDOM = ("", "(1 | g)", "(t | g)", "(t || g)", "(1 | site)")
G_WORDS = ("ar1", "ar1h", "cs", "csh", "toep", "toeph", "diag", "fa", "adh", "hf")


@dataclass(frozen=True)
class Problem:
    """A data set and how it is to be fitted."""

    index: int
    frame: pd.DataFrame
    formula: str
    arguments: dict[str, str]
    structure: str
    random: str


@dataclass(frozen=True)
class Outcome:
    """What became of a problem; `short` is how far the fit ends above the best dense start."""

    index: int
    call: str
    status: str
    short: float
    n_evaluations: int
    seconds: float


class TooSlow(BaseException):
    """A problem took longer than it may; no `Exception`, which is an outcome of a fit."""


def random_problem(seed: int, index: int) -> Problem:
    rng = np.random.default_rng([seed, index])
    near = index % 2 == 1
    of_effects = rng.random() < 0.2
    word = str(rng.choice(G_WORDS)) if of_effects else RESIDUAL[(index // 2) % len(RESIDUAL)]
    n_subjects = int(rng.integers(6, 13) if near else rng.integers(10, 25))
    n_visits = int(rng.integers(3, 8))
    frame = visits(rng, n_subjects, n_visits)
    frame["y"] = response(rng, frame, n_visits, near)
    if of_effects:
        # Effects are told from the residual by two rows at each visit.
        frame = pd.concat([frame, frame[frame["g"] < "s09"]], ignore_index=True)
        frame["y"] += rng.choice([0.1, 0.5, 1.5]) * rng.normal(size=len(frame))
    kept = rng.permutation(len(frame))[: round((1 - rng.choice([0.0, 0.0, 0.2])) * len(frame))]
    frame = frame.iloc[np.sort(kept)].reset_index(drop=True)
    arguments = {"method": str(rng.choice(["REML", "ML"]))}
    random = str(rng.choice(RANDOM))
    fixed = str(rng.choice(["y ~ t * arm", "y ~ t", "y ~ arm"]))
    if of_effects:
        random = f"{word}(0 + f | g)"
    else:
        visit = "time" if STRUCTURES[word].needs == "coordinates" else "visit"
        visit = "time, other" if word == "sp_powa" else visit
        subject = "arm / g" if rng.random() < 0.15 else "g"
        arguments["residual"] = f"{word}({visit} | {subject})"
        if rng.random() < 0.15:
            arguments["residual_scale"] = str(rng.choice(["arm", "exp(x)"]))
    formula = f"{fixed} + {random}" if random else fixed
    return Problem(index, frame, formula, arguments, "" if of_effects else word, random)


def visits(rng, n_subjects, n_visits):
    """Subjects at visits, without a response."""
    subject = np.repeat(np.arange(n_subjects), n_visits)
    visit = np.tile(np.arange(n_visits), n_subjects)
    times = np.cumsum(rng.uniform(0.4, 2.5, n_visits))
    return pd.DataFrame(
        {
            "g": [f"s{k:02d}" for k in subject],
            "visit": visit,
            "f": [f"v{k}" for k in visit],
            "t": visit - (n_visits - 1) / 2,
            "time": times[visit],
            "other": rng.normal(size=n_visits)[visit],
            "x": rng.normal(size=len(visit)),
            "arm": np.where(subject % 2, "b", "a"),
            "site": [f"c{k % 4}" for k in subject],
        }
    )


def response(rng, frame, n_visits, near):
    """Correlated errors and random effects; near a boundary some variances are 0."""
    n_subjects = frame["g"].nunique()
    lag = np.abs(np.subtract.outer(np.arange(n_visits), np.arange(n_visits)))
    rho = rng.choice([-0.6, 0.0, 0.95, 0.99]) if near else rng.choice([-0.3, 0.0, 0.3, 0.6, 0.8])
    kind = rng.integers(0, 3)
    correlation = np.float64(rho) ** lag
    if kind == 1:
        even = max(rho, -0.9 / (n_visits - 1))
        correlation = even + (1 - even) * np.eye(n_visits)
    elif kind == 2:
        root = rng.normal(size=(n_visits, 1 if near else n_visits))
        full = root @ root.T + 0.05 * np.eye(n_visits)
        correlation = full / np.sqrt(np.outer(np.diag(full), np.diag(full)))
    sd = np.exp(0.6 * rng.normal(size=n_visits) * rng.integers(0, 2))
    if near and rng.random() < 0.6:
        sd[rng.integers(0, n_visits)] = 0.0
    root = np.linalg.cholesky(correlation + 1e-9 * np.eye(n_visits))
    y = (rng.normal(size=(n_subjects, n_visits)) @ root.T * sd).ravel()
    code = frame["g"].factorize()[0]
    share = 0.0 if near and rng.random() < 0.5 else rng.choice([0.3, 1.0, 2.0])
    y = y + share * rng.normal(size=n_subjects)[code]
    slope = rng.choice([0.0, 0.0, 0.5])
    y = y + slope * rng.normal(size=n_subjects)[code] * frame["t"] + 0.5 * frame["t"]
    return y + rng.choice([0.0, 0.5]) * rng.normal(size=4)[frame["site"].factorize()[0]]


class Part:
    """A covariance among rows: S * (P M(theta) P'), S scaling or leaving out pairs of rows."""

    def __init__(self, design, pairs, structure):
        self.design, self.pairs, self.structure = design, pairs, structure
        self.n = structure.n_theta
        # Standard deviations without their sign: with it other signs of correlations were possible.
        self.n_sd = structure.n_scales if isinstance(structure, ScaledAngles) else 0
        rows, columns = np.array(structure.entries).T
        self.rows, self.columns, self.off = rows, columns, np.where(rows == columns, 1.0, 2.0)

    def inside(self, theta):
        return np.concatenate([np.abs(theta[: self.n_sd]), theta[self.n_sd :]])

    def covariance(self, theta):
        matrix = self.structure.matrix(self.inside(theta)[None])[0]
        return self.pairs * (self.design @ matrix @ self.design.T)

    def gradient(self, theta, by_v):
        folded = self.design.T @ (self.pairs * by_v) @ self.design
        by_entry = folded[self.rows, self.columns] * self.off
        by_theta = by_entry @ self.structure.jacobian(self.inside(theta)[None])[0]
        by_theta[: self.n_sd] *= np.where(theta[: self.n_sd] < 0, -1.0, 1.0)
        return by_theta

    def start(self, rng, variance):
        """Parameters near a covariance drawn at random."""
        k = self.structure.size
        sd = np.sqrt(variance) * np.exp(rng.choice([0.1, 1.0]) * rng.normal(size=k))
        lag = np.abs(np.subtract.outer(np.arange(k), np.arange(k)))
        rho = float(rng.choice([-0.4, 0.0, 0.3, 0.6, 0.9]))
        if rng.integers(0, 2):
            correlation = np.float64(rho) ** lag
        else:
            rho = max(rho, -0.8 / max(k - 1, 1))
            correlation = rho + (1 - rho) * np.eye(k)
        theta = self.structure.theta((correlation * np.outer(sd, sd))[None])[0]
        return theta + 0.2 * rng.normal(size=self.n) * np.abs(theta)


class Diagonal:
    """Variances of several effects, as squares."""

    def __init__(self, k, same=False):
        self.size, self.n_theta, self.same = k, 1 if same else k, same
        self.entries = tuple((a, a) for a in range(k))

    def matrix(self, theta):
        return np.diag(np.broadcast_to(theta[0] ** 2, self.size))[None]

    def jacobian(self, theta):
        by = np.diag(2.0 * np.broadcast_to(theta[0], self.size))
        return (by.sum(axis=1, keepdims=True) if self.same else by)[None]

    def theta(self, matrix):
        sd = np.sqrt(np.diagonal(matrix, axis1=1, axis2=2))
        return sd[:, :1] if self.same else sd


class Dense:
    """-2 log-likelihood of a problem from V whole, with its gradient."""

    def __init__(self, problem):
        frame, n = problem.frame, len(problem.frame)
        self.y = frame["y"].to_numpy()
        self.reml = problem.arguments["method"] == "REML"
        self.X = fixed_columns(problem)
        same = same_level(frame["g"])
        self.parts = random_parts(problem.random, frame)
        arms = [np.ones(n)]
        if "arm /" in problem.arguments.get("residual", ""):
            arms = [(frame["arm"] == a).to_numpy(float) for a in ("a", "b")]
        self.first_scaled = len(self.parts)
        if problem.structure:
            structure, position = residual_structure(problem)
            at = np.eye(structure.size)[position]
            self.parts += [Part(at, same * np.outer(a, a), structure) for a in arms]
        else:
            self.parts.append(Part(np.eye(n), np.eye(n), Diagonal(n, same=True)))
        scale = problem.arguments.get("residual_scale")
        self.columns = np.zeros((n, 0))
        if scale == "arm":
            self.columns = (frame["arm"] == "b").to_numpy(float)[:, None]
        elif scale:
            self.columns = frame["x"].to_numpy()[:, None]
        self.ends = np.cumsum([0, *(part.n for part in self.parts)])

    def covariance(self, theta):
        pairs = zip(self.parts, self.ends[:-1], self.ends[1:], strict=True)
        each = [part.covariance(theta[a:b]) for part, a, b in pairs]
        growth = np.exp(self.columns @ theta[self.ends[-1] :])
        residual = sum(each[self.first_scaled :]) * np.outer(growth, growth)
        return sum(each[: self.first_scaled], start=residual), residual, growth

    def __call__(self, theta):
        with np.errstate(all="ignore"):
            try:
                return self._value(theta)
            except (np.linalg.LinAlgError, ValueError):
                return 1e10, np.zeros_like(theta)

    def _value(self, theta):
        V, residual, growth = self.covariance(theta)
        n, p = self.X.shape
        factor = cho_factor(V, lower=True)
        inverse = cho_solve(factor, np.eye(n))
        left = inverse @ self.X
        cross = cho_factor(self.X.T @ left, lower=True)
        projected = inverse - left @ cho_solve(cross, left.T)
        r = projected @ self.y
        value = 2 * np.log(np.diag(factor[0])).sum() + self.y @ r
        value += (n - p if self.reml else n) * np.log(2 * np.pi)
        if self.reml:
            value += 2 * np.log(np.diag(cross[0])).sum()
        by_v = (projected if self.reml else inverse) - np.outer(r, r)
        gradient = []
        scaled = by_v * np.outer(growth, growth)
        for k, part in enumerate(self.parts):
            own = theta[self.ends[k] : self.ends[k + 1]]
            gradient.append(part.gradient(own, by_v if k < self.first_scaled else scaled))
        gradient.append(2 * self.columns.T @ (by_v * residual).sum(axis=1))
        gradient = np.concatenate(gradient)
        if not np.isfinite(value) or not np.isfinite(gradient).all():
            raise ValueError("not finite")
        return value, gradient

    def start(self, rng):
        variance = max(float(np.var(self.y - self.X @ np.linalg.lstsq(self.X, self.y)[0])), 1e-12)
        shares = rng.dirichlet(np.ones(2))
        parts = [
            part.start(rng, variance * shares[0 if k < self.first_scaled else 1])
            for k, part in enumerate(self.parts)
        ]
        return np.concatenate([*parts, 0.3 * rng.normal(size=self.columns.shape[1])])


def fixed_columns(problem):
    frame = problem.frame
    one, t = np.ones(len(frame)), frame["t"].to_numpy()
    arm = (frame["arm"] == "b").to_numpy(float)
    columns = [one]
    if "~ t" in problem.formula:
        columns.append(t)
    if "arm" in problem.formula.split(" + ")[0]:
        columns.append(arm)
    if "* arm" in problem.formula:
        columns.append(t * arm)
    return np.column_stack(columns)


def same_level(labels):
    codes = labels.factorize()[0]
    return (codes[:, None] == codes).astype(float)


def random_parts(random, frame):
    one, t = np.ones(len(frame)), frame["t"].to_numpy()
    if random == "":
        return []
    same = same_level(frame["site" if "site" in random else "g"])
    if random.startswith("(1"):
        return [Part(one[:, None], same, Diagonal(1))]
    if random == "(t || g)":
        return [Part(np.column_stack([one, t]), same, Diagonal(2))]
    if random == "(t | g)":
        return [Part(np.column_stack([one, t]), same, Unstructured(2).closed())]
    levels = np.unique(frame["f"])
    structure = STRUCTURES[random.split("(")[0]](len(levels)).closed()
    return [Part((frame["f"].to_numpy()[:, None] == levels).astype(float), same, structure)]


def residual_structure(problem):
    """The structure over the visits, and the visit of each row."""
    frame, kind = problem.frame, STRUCTURES[problem.structure]
    if kind.needs == "coordinates":
        names = ["time", "other"] if problem.structure == "sp_powa" else ["time"]
        points, position = np.unique(frame[names].to_numpy(), axis=0, return_inverse=True)
        more = {"nu": 1.5} if problem.structure == "sp_matern" else {}
        return kind(len(points), coordinates=points, **more), position.ravel()
    first, last = frame["visit"].min(), frame["visit"].max()
    return kind(int(last - first) + 1), (frame["visit"] - first).to_numpy()


def lowest(problem, n_starts):
    """Smallest dense -2 log-likelihood, and how near to singular V is there."""
    dense = Dense(problem)
    rng = np.random.default_rng([5, problem.index])
    best = None
    for _ in range(n_starts):
        found = minimize(
            dense,
            dense.start(rng),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 500, "maxfun": 700, "ftol": 1e-13, "gtol": 1e-6},
        )
        if best is None or found.fun < best.fun:
            best = found
    values = np.linalg.eigvalsh(dense.covariance(best.x)[0])
    return float(best.fun), float(values[0] / values[-1]), best.x


def fit_of(problem):
    import mlmfast as mlm

    return mlm.lmm(problem.formula, problem.frame, **problem.arguments)


def evaluations(fit):
    return fit.certificate.n_evaluations + fit.certificate.n_elsewhere


def solve(problem, n_starts):
    call = f"{problem.formula!r} {problem.arguments}"
    started = time.perf_counter()
    try:
        fit = fit_of(problem)
    except ModelError:
        return Outcome(problem.index, call, "refused", 0.0, 0, 0.0)
    except Exception as error:  # a trial must survive every kind of failure
        what = f"{type(error).__name__}: {str(error)[:80]}"
        return Outcome(problem.index, call, what, 0.0, 0, 0.0)
    seconds, spent = time.perf_counter() - started, evaluations(fit)
    if any("has no maximum" in text for text in fit.certificate.boundary):
        return Outcome(problem.index, call, "no maximum", 0.0, spent, seconds)
    value, ratio, _ = lowest(problem, n_starts)
    short = float(fit.deviance) - value
    status = "converged" if fit.converged else "not converged"
    if any("without bound somewhere else" in text for text in fit.certificate.boundary):
        status = f"said to be local ({status})"
    if short > SHORT and ratio < SINGULAR:
        status = f"dense without bound ({status})"
    return Outcome(problem.index, call, status, short, spent, seconds)


def solve_within(problem, n_starts, seconds):
    """`solve`, or a problem listed as too slow after so many processor seconds."""

    def stop(*_):
        raise TooSlow

    if seconds is None:
        return solve(problem, n_starts)
    # Seconds of the processor, so that a busy machine lists no others.
    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return solve(problem, n_starts)
    except TooSlow:
        call = f"{problem.formula!r} {problem.arguments}"
        return Outcome(problem.index, call, "too slow", 0.0, 0, float(seconds))
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)


def report(outcomes):
    counted = [o for o in outcomes if o.status in ("converged", "not converged")]
    kinds = pd.Series([o.status.split(":")[0] for o in outcomes]).value_counts()
    print(f"\n{len(outcomes)} problems: " + ", ".join(f"{n} {kind}" for kind, n in kinds.items()))
    spent = np.percentile([o.n_evaluations for o in counted] or [0], [50, 90, 99, 100])
    print("evaluations: median {:.0f}, 90 % {:.0f}, 99 % {:.0f}, most {:.0f}".format(*spent))
    certified = [o for o in counted if o.status == "converged"]
    short = sorted((o for o in certified if o.short > SHORT), key=lambda o: -o.short)
    print(f"certified fits above the lowest minimum by more than {SHORT}: {len(short)}", end=" ")
    print(f"of {len(certified)}")
    for o in short:
        print(f"  --only {o.index:<6} {o.short:.4f}  {o.call}")
    other = [o for o in outcomes if o.status not in ("converged", "refused", "no maximum")]
    for o in other:
        print(f"  --only {o.index:<6} {o.status}, {o.short:+.4f}  {o.call}")
    lower = [o for o in counted if o.short < -SHORT]
    print(f"dense starts that all ended above the fit: {len(lower)}")
    return len(short) > len(certified) / 1000


def show_one(problem, n_starts):
    print(problem.frame.describe(), problem.formula, problem.arguments, sep="\n")
    value, ratio, theta = lowest(problem, n_starts)
    print(f"dense: {value:.6f}, smallest over largest eigenvalue of V {ratio:.1e}, theta {theta}")
    fit = fit_of(problem)
    print(f"fit:   {fit.deviance:.6f}", fit.certificate, fit.summary(), sep="\n")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--to", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--starts", type=int, default=N_STARTS)
    parser.add_argument("--only", type=int, help="one problem, by its index")
    parser.add_argument("--minutes", type=float, default=np.inf)
    parser.add_argument("--seconds", type=float, help="of the processor, at most, a problem")
    parser.add_argument("--json", type=Path, help="a line a fit; those there already are kept")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.only is not None:
        show_one(random_problem(arguments.seed, arguments.only), arguments.starts)
        return 0
    outcomes = []
    if arguments.json and arguments.json.exists():
        lines = arguments.json.read_text().splitlines()
        outcomes = [Outcome(**json.loads(line)) for line in lines]
    done, started = {o.index for o in outcomes}, time.monotonic()
    for index in range(arguments.first, arguments.to):
        if time.monotonic() - started > 60 * arguments.minutes:
            break
        if index in done:
            continue
        problem = random_problem(arguments.seed, index)
        outcomes.append(solve_within(problem, arguments.starts, arguments.seconds))
        if arguments.json:
            with arguments.json.open("a") as lines:
                lines.write(json.dumps(asdict(outcomes[-1])) + "\n")
    return int(report(outcomes))


if __name__ == "__main__":
    raise SystemExit(main())
