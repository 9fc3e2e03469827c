"""Tests of whether a random effect is needed: its variance is 0 under the null hypothesis.

That value lies on the boundary of the parameter space, so the likelihood-ratio statistic has no
chi-square distribution (Self and Liang 1987, JASA 82:605).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.clusters.simulate import draw_responses, seed_sequence
from mlmfast.criterion.parameters.covariance_parameter import check_engine
from mlmfast.design.design import Design
from mlmfast.design.factors.names import known_group
from mlmfast.design.responses import response_rows
from mlmfast.design.submodels import without_effect, without_term
from mlmfast.display.framed import Framed
from mlmfast.display.printed_frame import printed
from mlmfast.distributions import chi2_tail
from mlmfast.errors import ModelError
from mlmfast.fitted.estimates import estimates_of
from mlmfast.fitted.fitted import Fitted
from mlmfast.fitting.fit import fit_covariance
from mlmfast.handed_out import hands_out_copies
from mlmfast.inference.comparison.restricted_lrt import exact_null_distribution
from mlmfast.information.undetermined import n_determined, undetermined_of
from mlmfast.newton.options import NewtonOptions
from mlmfast.prepared.fit_model import fit_model
from mlmfast.prepared.model import PreparedModel
from mlmfast.reduction.reduce import reduce_design

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted
    from mlmfast.fitted.origin.source import FitSource
    from mlmfast.fitted.record import FitRecord

#: A statistic this small is 0.
_ZERO = 1e-7
_BATCH = 1024
_NO_METHOD = "method is {!r}; use 'exact', 'mixture' or 'bootstrap'"


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
        term = _only_effect(source.design)
    check_engine(source.model, "a test of a variance")
    t, effects = find_effects(source.design, term)
    _check_free(source)
    chosen = null_method(source.design, t, effects, method)
    draws = _draws(n, chosen)
    null_design = without_effects(source.design, t, effects)
    null_deviance, count = _optimum(null_design, record.method)
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


def ranova(fit: Fitted) -> pd.DataFrame:
    """Likelihood-ratio tests of leaving out each random effect, as lmerTest's ``ranova``.

    Effects of a term with slopes are left out one at a time (its intercept stays), others whole, as
    are terms of other covariance structures than `us` and `diag`.
    ``Pr(>Chisq)`` takes the chi-square distribution, which is conservative, for a variance of 0
    lies on the boundary; ``Pr(mixture)`` takes the mixture that `test_variance` describes. Of
    variances without a bound (``bounded=False``) both columns are the chi-square's. ``Df`` counts
    parameters that the data determine; an effect that takes none with it (Df 0) has no test.

    Raises
    ------
    ModelError
        For fits that hold covariance parameters, which a model without an effect would estimate.
    """
    fit._needs_likelihood("ranova()")
    source, record = fit._needs_source("ranova", of_sums=True), fit._record
    check_engine(source.model, "ranova")
    _check_free(source)
    rows: dict[str, list[float]] = {
        "<none>": [record.n_parameters, -0.5 * record.deviance, *[np.nan] * 4]
    }
    for t, term in enumerate(source.design.random):
        group = source.design.factors[term.factor].name
        size = len(term.names)
        every = list(range(size))
        parts = [[j] for j in every if term.columns[j] is not None or size == 1]
        if not term.structure.named_by_effects:
            parts = [every]  # the structure is one of all effects
        for effects in parts:
            whole = len(effects) == size
            design = (
                without_term(source.design, t)
                if whole
                else without_effect(source.design, t, effects[0])
            )
            deviance, count = _optimum(design, record.method)
            # What the data do not determine is no parameter that a test could lose.
            df = max(record.n_theta - count, 0)
            statistic = max(deviance - record.deviance, 0.0)
            p = float(chi2_tail(statistic, df)) if df else np.nan
            row = [record.n_parameters - df, -0.5 * deviance, statistic, df]
            what = term.text or group
            if len(effects) == 1:
                what = f"{term.names[effects[0]]} in {what}"
            mixture = mixture_tail(statistic, df) if df and term.bounded else p
            rows[what] = [*row, p, mixture]
    table = pd.DataFrame.from_dict(
        rows,
        orient="index",
        columns=["npar", "logLik", "LRT", "Df", "Pr(>Chisq)", "Pr(mixture)"],
    )
    table.insert(2, "AIC", -2.0 * table["logLik"] + 2.0 * table["npar"])
    return printed(table, f"Likelihood-ratio tests of random effects ({record.method})")


def _check_free(source: FitSource) -> None:
    """Refuse fits that hold covariance parameters: models without an effect would estimate them.

    Raises
    ------
    ModelError
    """
    if source.parms is not None and source.parms.held:
        raise ModelError("the fit holds covariance parameters; test a variance in a free fit")


def _only_effect(design: Design) -> str:
    """Name of the model's single random effect.

    Raises
    ------
    ModelError
        Where it has none, or several.
    """
    names = [
        name
        for t in design.random
        for name in (
            [t.text]
            if design.factors[t.factor].has_all_rows
            else [f"sd_{e}|{design.factors[t.factor].name}" for e in t.names]
        )
    ]
    if len(names) == 1:
        return names[0]
    what = f"several random effects; name one of {', '.join(names)}" if names else "none"
    raise ModelError(f"test_variance tests a random effect, and the model has {what}")


def find_effects(design: Design, name: str) -> tuple[int, list[int]]:
    """Term and effects that a name stands for."""
    names: dict[str, tuple[int, list[int]]] = {}
    by_group: dict[str, list[int]] = {}
    for t, term in enumerate(design.random):
        group = design.factors[term.factor].name
        by_group.setdefault(group, []).append(t)
        for j, effect in enumerate(term.names):
            # Levels of a term over all rows have one variance, which is tested whole.
            if not design.factors[term.factor].has_all_rows:
                names[f"sd_{effect}|{group}"] = (t, [j])
        if term.text:
            whole = (t, list(range(len(term.names))))
            names[term.text] = names[term.text.removeprefix("(").removesuffix(")")] = whole
    for group, terms in by_group.items():
        if len(terms) == 1:
            names.setdefault(group, (terms[0], list(range(len(design.random[terms[0]].names)))))
    squeezed = {"".join(key.split()): value for key, value in names.items()}
    wanted = "".join(str(name).split())
    found = squeezed.get(known_group(wanted, squeezed) or wanted)
    if found is not None:
        return found
    near = get_close_matches(str(name), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    shared = [own.text for own in design.random if design.factors[own.factor].has_all_rows]
    known = ", ".join([*(key for key in names if key.startswith("sd_")), *shared]) or "none"
    raise ModelError(f"{name!r} is no random effect of this model{hint} (effects: {known})")


def null_method(design: Design, t: int, effects: list[int], method: str | None) -> str:
    """How the null distribution of a test is had; by default the first way that serves."""
    term = design.random[t]
    # Members and curves: effects of all rows, which share one variance.
    shared = design.factors[term.factor].has_all_rows and term.structure.n_theta == 1
    single = len(design.random) == 1 and (shared or len(term.names) == 1)
    several = len(effects) > 1 and not shared
    related = single and design.factors[term.factor].relationship is not None
    is_only = single and design.residual is None and not related
    if method == "chi-square" or not design.random[t].bounded:
        return _null_without_bound(design, t, method)
    if method is None:
        if design.condensed is not None and several:
            raise ModelError(
                "several effects at once are tested by a bootstrap, which needs the rows; name one "
                "effect (sd_x|g), or fit the rows: mlm.lmm(formula, data)"
            )
        mixed = not several and (not is_only or design.condensed is not None)
        return "mixture" if mixed else "exact" if is_only else "bootstrap"
    if method not in {"exact", "mixture", "bootstrap"}:
        raise ModelError(_NO_METHOD.format(method))
    if design.condensed is not None and method != "mixture":
        raise ModelError(
            f"method={method!r} needs the rows, and a reduction holds sums over them; use "
            "method='mixture', or fit the rows: mlm.lmm(formula, data)"
        )
    if method == "exact" and not is_only:
        raise ModelError(
            "the exact distribution is known for the only variance besides the residual's; this "
            "model has other covariance parameters, or related levels: use method='bootstrap'"
        )
    if method == "mixture" and several:
        raise ModelError(
            "the mixture of two chi-squares holds for one effect at a time; name it (sd_x|g), or "
            "use method='bootstrap'"
        )
    return method


def _null_without_bound(design: Design, t: int, method: str | None) -> str:
    """How the null distribution is had where 0 is within the parameter space."""
    if design.random[t].bounded:
        raise ModelError(
            "method='chi-square' is for variances without a bound (bounded=False); one of 0 lies "
            "on the boundary here: use 'exact', 'mixture' or 'bootstrap'"
        )
    if method in {"exact", "mixture"}:
        raise ModelError(
            f"method={method!r} is for a variance whose bound is 0, and this one has none "
            "(bounded=False); use method='chi-square' or 'bootstrap'"
        )
    if method not in {None, "chi-square", "bootstrap"}:
        raise ModelError(_NO_METHOD.format(method))
    return method or "chi-square"


def _draws(n: int | None, method: str) -> int:
    if n is None:
        return 100_000 if method == "exact" else 1_000
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise ModelError(f"n is {n!r}; the number of draws must be an integer >= 1")
    return int(n)


def without_effects(design: Design, t: int, effects: list[int]) -> Design:
    """The design without some random effects of a term: one, or all."""
    if len(effects) == len(design.random[t].names):
        return replace(design, random=design.random[:t] + design.random[t + 1 :])
    return without_effect(design, t, effects[0])


def mixture_tail(statistic: float, df: int) -> float:
    """P-value by half chi-square with df - 1 and half with df degrees of freedom."""
    if statistic <= 0:
        return 1.0
    lower = float(chi2_tail(statistic, df - 1)) if df > 1 else 0.0
    return 0.5 * (lower + float(chi2_tail(statistic, df)))


def _tail(method: str, statistic: float, df: int, sample: FloatArray) -> float:
    if method == "mixture":
        return mixture_tail(statistic, df)
    if method == "chi-square":
        return float(chi2_tail(statistic, df))
    return sample_tail(sample, statistic)


def sample_tail(sample: FloatArray, statistic: float) -> float:
    """Share of the null distribution at or above the statistic.

    The observed one counts as a draw of it, so p is never 0 (Davison and Hinkley 1997, 4.11).
    """
    if statistic <= 0:
        return 1.0
    return (1 + int((sample >= statistic - 1e-9).sum())) / (1 + len(sample))


def _optimum(design: Design, method: str) -> tuple[float, int]:
    """-2 log-likelihood at the optimum, and how many parameters of theta the data determine."""
    model = reduce_design(design)
    covariance = fit_covariance(model, method, NewtonOptions())
    estimates = estimates_of(model, covariance.criterion, covariance.theta)
    determined = n_determined(covariance, undetermined_of(model, covariance))
    return float(estimates.deviance[0]), determined


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
