"""What is tested in each replicate: coefficients, terms, two models, a random effect."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.batch.fit_batch import FitBatch
from mlmfast.clusters.simulate import draw_responses
from mlmfast.degrees_of_freedom import ddf_words
from mlmfast.design.columns.model_matrix import INTERCEPT
from mlmfast.distributions import chi2_tail
from mlmfast.errors import ModelError, SingularFitWarning
from mlmfast.fitted.fitted import Fitted
from mlmfast.inference.comparison.restricted_lrt import exact_null_distribution
from mlmfast.inference.comparison.variance_tests import (
    find_effects,
    mixture_tail,
    null_method,
    sample_tail,
    without_effects,
)
from mlmfast.inference.contrasts.rows import contrast_rows
from mlmfast.power_analysis.analysis import Analysis
from mlmfast.prepared.fit_model import fit_model
from mlmfast.prepared.model import PreparedModel
from mlmfast.simulation.streams import Streams, entropy_of
from mlmfast.words import did_you_mean

#: Draws of an exact null distribution.
_EXACT = 100_000


class Outcome(NamedTuple):
    """Tests of n replicates; NaN where there is none.

    Attributes
    ----------
    pvalue, estimate : shape (n,); estimates NaN where several coefficients are tested.
    se, df : shape (n,), of tests of one coefficient.
    """

    pvalue: FloatArray
    estimate: FloatArray
    se: FloatArray
    df: FloatArray


class Hypothesis(Protocol):
    """A hypothesis about one design."""

    def outcome(self, streams: Streams, first: int, n: int) -> Outcome:
        """Tests of n replicates from number ``first`` on."""

    @property
    def label(self) -> str:
        """What is tested, in a few words."""


def joined(parts: list[Outcome]) -> Outcome:
    """Outcomes of several batches."""
    return Outcome(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _without_estimates(pvalue: FloatArray) -> Outcome:
    nothing = np.full(len(pvalue), np.nan)
    return Outcome(pvalue, nothing, nothing, nothing)


def _good(batch: FitBatch) -> BoolArray:
    return np.asarray(batch.converged & np.isfinite(batch.llf))


def _both(small: FitBatch, large: FitBatch) -> BoolArray:
    """Where the fits of two models are good."""
    for batch in (small, large):
        _check_any(_good(batch), batch)
    return _good(small) & _good(large)


def _check_any(good: BoolArray, batch: FitBatch) -> None:
    """Say why no fit of a batch succeeded."""
    if not good.any():
        raise ModelError(
            f"none of {len(good)} replicates of {int(batch.nobs.max(initial=0))} rows could be "
            f"fitted; the first: {batch.status[0]}"
        )


@dataclass(frozen=True)
class Wald:
    """t test of one linear function of the fixed effects, or F test of several.

    Attributes
    ----------
    L, rhs : shapes (m, p), (m,), over all columns of X.
    """

    analysis: Analysis
    names: tuple[str, ...]
    L: FloatArray
    rhs: FloatArray
    text: str

    @property
    def label(self) -> str:
        """What is tested."""
        kind = "t" if len(self.L) == 1 else f"F ({len(self.L)} df)"
        ddf = ddf_words(self.analysis.ddf)
        return f"{kind} test of {self.text}, {self.analysis.method}, ddf {ddf}"

    def outcome(self, streams: Streams, first: int, n: int) -> Outcome:
        """Tests of n replicates from number ``first`` on."""
        if self.analysis.design.redraws_rows:
            batch = self.analysis.drawn_fits(streams, first, n)
        else:
            batch = self.analysis.fits(self.analysis.responses(streams, first, n))
        good = _good(batch)
        _check_any(good, batch)
        if len(self.L) > 1:
            return _without_estimates(np.where(good, self._tests(batch).f_pvalue, np.nan))
        if len(batch.names) == len(self.names) and (self.L != 0).sum() == 1:
            return self._of_coefficient(batch, good)
        tests = self._tests(batch)
        arrays = (tests.pvalue, tests.estimate, tests.se, tests.df)
        return Outcome(*(np.where(good, a[:, 0], np.nan) for a in arrays))

    def _tests(self, batch: FitBatch) -> Any:
        return batch.tests(self.L, self.rhs)

    def _of_coefficient(self, batch: FitBatch, good: BoolArray) -> Outcome:
        """By the arrays of the batch, which has the tests of single coefficients already."""
        from mlmfast.distributions import two_sided

        j = int(np.flatnonzero(self.L[0])[0])
        weight = float(self.L[0, j])
        estimate, se = batch.params[:, j] * weight, batch.bse[:, j] * abs(weight)
        df = np.asarray(batch.df)[:, j]
        pvalue = two_sided((estimate - self.rhs[0]) / se, df)
        return Outcome(*(np.where(good, a, np.nan) for a in (pvalue, estimate, se, df)))


@dataclass(frozen=True)
class LikelihoodRatio:
    """Likelihood-ratio test of two models, by chi-square or parametric bootstrap.

    Attributes
    ----------
    null, alternative
        The models, on the rows of the design.
    df
        Parameters that the null model lacks.
    ml
        Whether both are fitted by maximum likelihood, as where fixed effects differ.
    n_boot
        Samples of the bootstrap for each replicate; 0 for chi-square.
    """

    analysis: Analysis
    null: PreparedModel
    alternative: PreparedModel
    df: int
    ml: bool
    text: str
    n_boot: int = 0
    seed: Any = 0

    @property
    def label(self) -> str:
        """What is tested."""
        how = f"parametric bootstrap of {self.n_boot}" if self.n_boot else f"chi-square, {self.df}"
        method = "ML" if self.ml else self.analysis.method
        return f"likelihood-ratio test of {self.text} ({how}), {method}"

    def outcome(self, streams: Streams, first: int, n: int) -> Outcome:
        """Tests of n replicates from number ``first`` on."""
        Y = self.analysis.responses(streams, first, n)
        statistic = self._statistics(Y)
        if self.n_boot:
            return _without_estimates(self._bootstrapped(Y, statistic, first))
        return _without_estimates(np.asarray(chi2_tail(statistic, self.df)))

    def _statistics(self, Y: FloatArray) -> FloatArray:
        """Likelihood ratios, NaN where one of two fits failed."""
        small = self.analysis.fits(Y, self.null, self.ml)
        large = self.analysis.fits(Y, self.alternative, self.ml)
        ratio = np.maximum(small.deviance - large.deviance, 0.0)
        return np.where(_both(small, large), ratio, np.nan)

    def _bootstrapped(self, Y: FloatArray, statistic: FloatArray, first: int) -> FloatArray:
        entropy = entropy_of(self.seed)
        out = np.full(len(statistic), np.nan)
        for i in np.flatnonzero(np.isfinite(statistic)).tolist():
            # Numbers of their own: those of a replicate are for its response.
            key = (*entropy.spawn_key, 1, first + i)
            own = np.random.SeedSequence(entropy.entropy, spawn_key=key)
            fit = fitted_null(self.null, Y[:, i], "ML" if self.ml else self.analysis.method)
            sample = draw_responses(fit._needs_source("a test"), fit._record, self.n_boot, own)
            null = self._statistics(sample)
            out[i] = sample_tail(null[np.isfinite(null)], float(statistic[i]))
        return out


def fitted_null(model: PreparedModel, y: FloatArray, method: str) -> Fitted:
    """The null model fitted to one response."""
    own = PreparedModel(replace(model.design, y=np.ascontiguousarray(y)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        return fit_model(own, Fitted, method, ddf="asymptotic")


@dataclass(frozen=True)
class VarianceTest:
    """Test of a random effect by the restricted likelihood ratio.

    Attributes
    ----------
    how
        "exact": the finite-sample distribution; "mixture" of chi-squares; "chi-square" for a
        variance without a bound.
    null_sample : shape (n,), draws of the exact distribution.
    """

    analysis: Analysis
    null: PreparedModel
    df: int
    how: str
    null_sample: FloatArray
    text: str

    @property
    def label(self) -> str:
        """What is tested."""
        return f"test of {self.text} ({self.how} null distribution), {self.analysis.method}"

    def outcome(self, streams: Streams, first: int, n: int) -> Outcome:
        """Tests of n replicates from number ``first`` on."""
        Y = self.analysis.responses(streams, first, n)
        small = self.analysis.fits(Y, self.null)
        large = self.analysis.fits(Y, self.analysis.model)
        ratio = small.deviance - large.deviance
        ratio = np.where(ratio > 1e-7, ratio, 0.0)
        tails = [self._tail(value) for value in ratio.tolist()]
        return _without_estimates(np.where(_both(small, large), tails, np.nan))

    def _tail(self, statistic: float) -> float:
        if not np.isfinite(statistic):
            return float("nan")
        if self.how == "exact":
            return sample_tail(self.null_sample, statistic)
        if self.how == "chi-square":
            return float(chi2_tail(statistic, self.df))
        return mixture_tail(statistic, self.df)


def hypothesis(
    analysis: Analysis, test: Any, how: str | None, n_boot: int, seed: Any
) -> Hypothesis:
    """What a user asks to be tested.

    Parameters
    ----------
    test, how, n_boot
        As `mlmfast.power` takes ``test``, ``test_method`` and ``n_boot``.

    Raises
    ------
    ModelError
        For what is not in the model; the nearest name is suggested.
    """
    names = analysis.model.design.x_names
    if how not in (None, "wald", "lr", "bootstrap", "exact", "mixture", "chi-square"):
        raise ModelError(
            f"test_method is {how!r}; use 'wald', 'lr' or 'bootstrap', or for a random effect "
            "'exact', 'mixture' or 'bootstrap', 'chi-square' where its variance has no bound"
        )
    if isinstance(test, str) and "~" in test:
        return _fixed_rows(analysis, _of_two_models(analysis, test, how, n_boot, seed))
    if isinstance(test, str) and _is_random(analysis, test):
        return _fixed_rows(analysis, _of_random_effect(analysis, test, how, n_boot, seed))
    if how in ("exact", "mixture", "chi-square"):
        raise ModelError(f"test_method={how!r} is for random effects, such as test='sd_x|g'")
    L, rhs, text = _linear(analysis, test)
    if how in ("lr", "bootstrap"):
        n = n_boot if how == "bootstrap" else 0
        return _fixed_rows(analysis, _without_columns(analysis, L, rhs, text, n, seed))
    return Wald(analysis, names, L, rhs, text)


def _fixed_rows(analysis: Analysis, found: Hypothesis) -> Hypothesis:
    if analysis.design.redraws_rows:
        raise ModelError(
            "likelihood-ratio tests and those of random effects need rows that stay the same, and "
            "covariates of this design are drawn anew; take data=design.data of one draw"
        )
    return found


def _linear(analysis: Analysis, test: Any) -> tuple[FloatArray, FloatArray, str]:
    """Rows over the coefficients of what is tested."""
    model = analysis.model
    names = model.design.x_names
    if not isinstance(test, str):
        rows = contrast_rows(names, test)
        return rows.L, np.asarray(rows.rhs, dtype=np.float64), ", ".join(rows.names)
    if test in names:
        row = np.zeros((1, len(names)))
        row[0, names.index(test)] = 1.0
        return row, np.zeros(1), test
    terms = () if model._frame is None else model._frame.terms
    if test in terms and test != INTERCEPT:
        return _type_three(analysis, test)
    if any(sign in test for sign in "=+*/") or " - " in test:
        rows = contrast_rows(names, test)
        return rows.L, np.asarray(rows.rhs, dtype=np.float64), test
    known = [*names, *(t for t in terms if t not in names), *_random_names(analysis)]
    hint = did_you_mean(test, known)
    raise ModelError(
        f"test: {test!r} is no coefficient, term or random effect of {analysis.fitted_formula!r}"
        f"{hint} (there are {', '.join(known[:30])})"
    )


def _type_three(analysis: Analysis, term: str) -> tuple[FloatArray, FloatArray, str]:
    """The type III hypothesis of a term, which goes by the design alone."""
    Y = analysis.design.simulate(1, seed=0)
    Y = np.where(np.isnan(Y), 0.0, Y)
    with warnings.catch_warnings():
        # Of one response, which stands for none.
        warnings.simplefilter("ignore")
        table = analysis.fits(Y)[0].anova(type=3, ddf="asymptotic")
    if term not in table.hypotheses:
        raise ModelError(f"test: the term {term!r} is not estimable in this design")
    L = table.hypotheses[term].to_numpy()
    return L, np.zeros(len(L)), term


def _without_columns(
    analysis: Analysis, L: FloatArray, rhs: FloatArray, text: str, n_boot: int, seed: Any
) -> Hypothesis:
    """Likelihood ratio against the model in which the rows of L are 0."""
    if rhs.any():
        raise ModelError(
            f"test: {text!r} has a value under the hypothesis, which a likelihood-ratio test does "
            "not take; use test_method='wald'"
        )
    model = analysis.model
    x = model.design.fixed_matrix
    # Columns of X in the null space of L: the model under the hypothesis.
    _, sizes, v = np.linalg.svd(L)
    df = int((sizes > 1e-10 * sizes[0]).sum())
    own = np.flatnonzero((L != 0).any(axis=0))
    if len(own) == df:
        kept = [j for j in range(len(model.design.x)) if j not in own]
        null = replace(
            model.design,
            x=tuple(model.design.x[j] for j in kept),
            x_names=tuple(model.design.x_names[j] for j in kept),
        )
    else:
        basis = x @ v[df:].T
        columns = tuple(np.ascontiguousarray(column) for column in basis.T)
        null = replace(model.design, x=columns, x_names=tuple(map(str, range(len(columns)))))
    return LikelihoodRatio(
        analysis, PreparedModel(null), PreparedModel(model.design), df, True, text, n_boot, seed
    )


def _of_two_models(
    analysis: Analysis, formula: str, how: str | None, n_boot: int, seed: Any
) -> Hypothesis:
    if how in ("wald", "exact", "mixture", "chi-square"):
        raise ModelError(
            f"test_method={how!r} does not compare two models; use 'lr' or 'bootstrap'"
        )
    first, second = analysis.model, analysis.model_of(formula)
    sizes = [_n_parameters(analysis, model) for model in (first, second)]
    if sizes[0] == sizes[1]:
        raise ModelError(
            f"test: {formula!r} has as many parameters as {analysis.fitted_formula!r}, so neither "
            "is a special case of the other"
        )
    if sizes[0] > sizes[1]:
        null, alternative = second, first
    else:
        null, alternative = first, second
    small, large = null.design.fixed_matrix, alternative.design.fixed_matrix
    both = np.column_stack([large, small])
    if np.linalg.matrix_rank(both) > np.linalg.matrix_rank(large):
        raise ModelError(
            f"test: the fixed effects of {formula!r} and {analysis.fitted_formula!r} are not nested"
        )
    ml = np.linalg.matrix_rank(large) > np.linalg.matrix_rank(small) or analysis.method == "ML"
    n = n_boot if how == "bootstrap" else 0
    df = abs(sizes[0] - sizes[1])
    return LikelihoodRatio(analysis, null, alternative, df, bool(ml), formula, n, seed)


def _n_parameters(analysis: Analysis, model: PreparedModel) -> int:
    Y = analysis.responses(Streams(0), 0, 8)
    return int(analysis.fits(Y, model).n_parameters.max())


def _random_names(analysis: Analysis) -> list[str]:
    design = analysis.model.design
    return [f"sd_{e}|{design.factors[t.factor].name}" for t in design.random for e in t.names]


def _is_random(analysis: Analysis, test: str) -> bool:
    """Whether a name is that of a random effect: ``sd_x|g``, or a term as written."""
    return "|" in test


def _of_random_effect(
    analysis: Analysis, test: str, how: str | None, n_boot: int, seed: Any
) -> Hypothesis:
    design = analysis.model.design
    t, effects = find_effects(design, test)
    if how == "lr" and not design.random[t].bounded:
        how = "chi-square"
    if how in ("wald", "lr"):
        raise ModelError(
            "a variance of 0 lies on the boundary; its test_method is 'exact', 'mixture' or "
            "'bootstrap'"
        )
    chosen = null_method(design, t, effects, how)
    null = PreparedModel(without_effects(design, t, effects))
    own = PreparedModel(design)
    df = _n_parameters(analysis, own) - _n_parameters(analysis, null)
    if chosen == "bootstrap":
        return LikelihoodRatio(analysis, null, own, df, analysis.method == "ML", test, n_boot, seed)
    sample = np.empty(0)
    if chosen == "exact":
        reml = analysis.method == "REML"
        entropy = entropy_of(seed)
        key = (*entropy.spawn_key, 2)
        own_seed = np.random.SeedSequence(entropy.entropy, spawn_key=key)
        sample = exact_null_distribution(design, t, reml, _EXACT, own_seed)
    return VarianceTest(analysis, null, df, chosen, sample, test)
