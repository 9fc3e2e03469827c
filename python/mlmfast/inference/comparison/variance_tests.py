"""Tests of whether a random effect is needed: its variance is 0 under the null hypothesis.

That value lies on the boundary of the parameter space, so the likelihood-ratio statistic has no
chi-square distribution (Self and Liang 1987, JASA 82:605).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.clusters.simulate import draw_responses, seed_sequence
from mlmfast.criterion.parameters.covariance_parameter import check_engine
from mlmfast.design.design import Design
from mlmfast.design.responses import response_rows
from mlmfast.display.framed import Framed
from mlmfast.distributions import chi2_tail
from mlmfast.errors import ModelError
from mlmfast.fitted.estimates import estimates_of
from mlmfast.fitted.fitted import Fitted
from mlmfast.fitting.fit import fit_covariance
from mlmfast.handed_out import hands_out_copies
from mlmfast.inference.comparison.free_fits import check_free, optimum
from mlmfast.inference.comparison.null_model import (
    find_effects,
    null_method,
    only_effect,
    without_effects,
)
from mlmfast.inference.comparison.null_tails import mixture_tail, sample_tail
from mlmfast.inference.comparison.restricted_lrt import exact_null_distribution
from mlmfast.newton.options import NewtonOptions
from mlmfast.prepared.fit_model import fit_model
from mlmfast.prepared.model import PreparedModel
from mlmfast.reduction.reduce import reduce_design

if TYPE_CHECKING:
    from mlmfast.fitted.origin.source import FitSource
    from mlmfast.fitted.record import FitRecord

#: A statistic this small is 0.
_ZERO = 1e-7
_BATCH = 1024


@hands_out_copies
@dataclass(frozen=True)
class VarianceTest(Framed):
    """A test of random effects.

    Attributes
    ----------
    effects
        What is tested, such as ``Days by Subject``.
    statistic
        Likelihood ratio, restricted for a REML fit: deviance without the effects minus with them.
    df
        Covariance parameters that go with the effects.
    pvalue
        Under ``method``.
    method
        "exact", "mixture", "bootstrap" or "chi-square".
    n, standard_error
        Draws of the null distribution and the p-value's Monte Carlo error; 0 without draws.
    n_failed
        Bootstrap refits that did not converge; they are left out.
    null : shape (n,)
        Draws of the statistic under the null hypothesis.
    """

    effects: str
    statistic: float
    df: int
    pvalue: float
    method: str
    n: int
    standard_error: float
    n_failed: int
    null: FloatArray

    def to_frame(self) -> pd.DataFrame:
        """One row: effects, statistic, df, p_value, method, n, standard_error, n_failed."""
        return pd.DataFrame(
            {
                "effects": [self.effects],
                "statistic": [self.statistic],
                "df": [self.df],
                "p_value": [self.pvalue],
                "method": [self.method],
                "n": [self.n],
                "standard_error": [self.standard_error],
                "n_failed": [self.n_failed],
            }
        )

    def __repr__(self) -> str:
        how = {
            "exact": f"exact null distribution, {self.n} draws",
            "mixture": f"mixture of chi-squares with {self.df - 1} and {self.df} df",
            "chi-square": f"chi-square with {self.df} df, for the variance has no bound",
            "bootstrap": f"parametric bootstrap, {self.n} samples, {self.n_failed} failed",
        }[self.method]
        error = f" (Monte Carlo error {self.standard_error:.2g})" if self.n else ""
        return (
            f"Test of {self.effects}: likelihood ratio {self.statistic:.4f}, "
            f"p = {self.pvalue:.4g}{error}, by the {how}"
        )


def variance_test(
    fit: Fitted,
    term: str | None = None,
    method: str | None = None,
    n: int | None = None,
    seed: Any = None,
) -> VarianceTest:
    """Test whether a random effect is needed: its variance is 0, a value on the boundary.

    Parameters
    ----------
    term
        A standard deviation as `profile` names it, ``sd_x|g``: the effect and its correlations;
        or a term as written, or its grouping factor where it has one term: the whole term. It may
        be left out where the model has a single random effect.
    method
        "exact": for the only variance besides the residual's, the exact finite-sample distribution
        by its spectral representation (Crainiceanu and Ruppert 2004, JRSS B 66:165, theorem 1),
        that of a curve ``s(x)``, beyond what its null space fits, or of ``mm(a, b)`` too;
        "mixture": half chi-square with df - 1 and half with df degrees of freedom (Stram and Lee
        1994, Biometrics 50:1171), for one effect; "bootstrap": from the fit without the effects.
        The first of these that serves by default. "chi-square", with df degrees of freedom, is for
        variances without a bound (``bounded=False``), whose null value lies within the parameter
        space; their default.
    n
        Draws of the null distribution; 100,000 for "exact", 1,000 for "bootstrap" by default.
    seed
        int, SeedSequence, Generator, or None.

    Raises
    ------
    ModelError
        For a term that is not in the model, or a method that does not serve it.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> test = fit.test_variance("sd_Days|Subject")
    >>> round(test.statistic, 3), test.df, test.method
    (42.837, 2, 'mixture')
    """
    fit._needs_likelihood("test_variance()")
    source, record = fit._needs_source("a test of a variance", of_sums=True), fit._record
    if term is None:
        term = only_effect(source.design)
    check_engine(source.model, "a test of a variance")
    t, effects = find_effects(source.design, term)
    check_free(source)
    chosen = null_method(source.design, t, effects, method)
    draws = _draws(n, chosen)
    null_design = without_effects(source.design, t, effects)
    null_deviance, count = optimum(null_design, record.method)
    statistic = null_deviance - record.deviance
    statistic = statistic if statistic > _ZERO else 0.0
    df = record.n_theta - count
    if df < 1:
        raise ModelError(
            f"{term!r} cannot be tested: leaving it out takes no parameter that the data determine "
            f"({'; '.join(record.certificate.boundary)})"
        )
    sample, failed = np.empty(0), 0
    if chosen == "exact":
        reml = record.method == "REML"
        sample = exact_null_distribution(source.design, t, reml, draws, seed_sequence(seed))
    elif chosen == "bootstrap":
        sample, failed = _bootstrap(source, record, null_design, draws, seed)
    p = _tail(chosen, statistic, df, sample)
    error = float(np.sqrt(p * (1.0 - p) / len(sample))) if len(sample) else 0.0
    text = ", ".join(source.design.random[t].names[j] for j in effects)
    group = source.design.factors[source.design.random[t].factor]
    # The effects of a term over all rows are its levels.
    what = source.design.random[t].text if group.has_all_rows else f"{text} by {group.name}"
    return VarianceTest(what, statistic, df, p, chosen, len(sample), error, failed, sample)


def _draws(n: int | None, method: str) -> int:
    if n is None:
        return 100_000 if method == "exact" else 1_000
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise ModelError(f"n is {n!r}; the number of draws must be an integer >= 1")
    return int(n)


def _tail(method: str, statistic: float, df: int, sample: FloatArray) -> float:
    if method == "mixture":
        return mixture_tail(statistic, df)
    if method == "chi-square":
        return float(chi2_tail(statistic, df))
    return sample_tail(sample, statistic)


def _bootstrap(
    source: FitSource, record: FitRecord, null: Design, n: int, seed: Any
) -> tuple[FloatArray, int]:
    """Statistics of samples from the null model, and how many refits failed."""
    fit = fit_model(PreparedModel(null), Fitted, record.method, ddf="asymptotic")
    entropy, parts, failed = seed_sequence(seed), [], 0
    for first in range(0, n, _BATCH):
        count = min(_BATCH, n - first)
        sample = draw_responses(fit._needs_source("a test"), fit._record, count, entropy, first)
        responses = response_rows(sample, null)
        deviances, good = [], np.ones(count, dtype=np.bool_)
        for design in (null, source.design):
            reduced = reduce_design(design, responses)
            covariance = fit_covariance(reduced, record.method, NewtonOptions())
            estimates = estimates_of(reduced, covariance.criterion, covariance.theta)
            deviances.append(estimates.deviance)
            good &= covariance.newton.converged & np.isfinite(estimates.deviance)
        parts.append(np.maximum(deviances[0] - deviances[1], 0.0)[good])
        failed += int((~good).sum())
    return np.concatenate(parts), failed
