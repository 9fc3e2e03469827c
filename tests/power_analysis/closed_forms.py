"""Power of balanced designs in closed form, from the noncentral F distribution alone.

With a balanced design, and estimates inside the parameter space, REML's variances are those of the
analysis of variance, the test is its F test, and Satterthwaite's and Kenward and Roger's degrees
of freedom are its own: see Searle, Casella and McCulloch (1992), Variance Components, chapter 4.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

import mlmfast as mlm


@dataclass(frozen=True)
class Balanced:
    """A design with the power of one test: F of (num, den) degrees of freedom, noncentrality."""

    name: str
    design: object
    test: object
    num: int
    den: int
    noncentrality: float

    @property
    def power(self):
        return power_of_f(self.num, self.den, self.noncentrality)


def power_of_f(num, den, noncentrality, alpha=0.05):
    critical = stats.f.ppf(1 - alpha, num, den)
    return float(stats.ncf.sf(critical, num, den, noncentrality))


def arms_between(n_clusters, size, effect, between=2.0, sigma=1.0):
    """Two arms of clusters: a t test of means of clusters."""
    design = mlm.design(
        "y ~ arm + (1 | g)", levels={"g": n_clusters, "row": size, "arm": ["c", "t"]},
        between={"arm": "g"}, params={"armt": effect}, varcorr={"g": between}, sigma=sigma,
    )  # fmt: skip
    variance = between + sigma**2 / size
    noncentrality = effect**2 / (variance * 4 / n_clusters)
    return Balanced("two arms", design, "armt", 1, n_clusters - 2, noncentrality)


def three_arms(n_clusters, size, effects, between=2.0, sigma=1.0):
    """Three arms of clusters: an F test of means of clusters."""
    design = mlm.design(
        "y ~ arm + (1 | g)", levels={"g": n_clusters, "row": size, "arm": ["a", "b", "c"]},
        between={"arm": "g"}, params={"armb": effects[0], "armc": effects[1]},
        varcorr={"g": between}, sigma=sigma,
    )  # fmt: skip
    means = np.array([0.0, *effects])
    variance = between + sigma**2 / size
    noncentrality = n_clusters / 3 * ((means - means.mean()) ** 2).sum() / variance
    return Balanced("three arms", design, "arm", 2, n_clusters - 3, noncentrality)


def slopes(n_subjects, days, effect, tau=(900.0, 60.0), sigma=10.0):
    """A mean slope with slopes of subjects: a t test of the subjects' least-squares slopes."""
    design = mlm.design(
        "y ~ day + (day | id)", levels={"id": n_subjects, "day": list(days)},
        params={"(Intercept)": 100, "day": effect}, varcorr={"id": list(tau)}, sigma=sigma,
    )  # fmt: skip
    sxx = float(((np.array(days) - np.mean(days)) ** 2).sum())
    variance = (tau[1] + sigma**2 / sxx) / n_subjects
    return Balanced("slopes", design, "day", 1, n_subjects - 1, effect**2 / variance)


def within_clusters(n_clusters, effects, between=2.0, sigma=1.0):
    """A factor within clusters, a row a cell: the F test of a randomised block design."""
    labels = list("abcdef"[: len(effects) + 1])
    design = mlm.design(
        "y ~ f + (1 | g)", levels={"g": n_clusters, "f": labels},
        params={f"f{k}": v for k, v in zip(labels[1:], effects, strict=True)},
        varcorr={"g": between}, sigma=sigma,
    )  # fmt: skip
    means = np.array([0.0, *effects])
    noncentrality = n_clusters * ((means - means.mean()) ** 2).sum() / sigma**2
    k = len(means)
    return Balanced("blocks", design, "f", k - 1, (n_clusters - 1) * (k - 1), noncentrality)


DESIGNS = [
    arms_between(8, 6, 2.4),
    arms_between(24, 3, 1.5),
    three_arms(18, 5, (1.0, 2.0)),
    slopes(9, range(6), 7.5),
    slopes(16, range(10), 5.0),
    within_clusters(7, (0.8, 1.6)),
    within_clusters(12, (0.4, 0.2, 1.1)),
]
