"""Tests of each replicate: t and F tests, likelihood ratios, restricted ones of a variance."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray
from mlmfast.batch.fit_batch import FitBatch
from mlmfast.clusters.simulate import draw_responses
from mlmfast.degrees_of_freedom import ddf_words
from mlmfast.distributions import chi2_tail
from mlmfast.errors import SingularFitWarning
from mlmfast.fitted.fitted import Fitted
from mlmfast.inference.comparison.null_tails import mixture_tail, sample_tail
from mlmfast.power_analysis.analysis import Analysis
from mlmfast.power_analysis.outcome import (
    Outcome,
    both_good,
    check_any,
    good_fits,
    without_estimates,
)
from mlmfast.prepared.fit_model import fit_model
from mlmfast.prepared.model import PreparedModel
from mlmfast.simulation.streams import Streams, entropy_of


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
        good = good_fits(batch)
        check_any(good, batch)
        if len(self.L) > 1:
            return without_estimates(np.where(good, self._tests(batch).f_pvalue, np.nan))
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
            return without_estimates(self._bootstrapped(Y, statistic, first))
        return without_estimates(np.asarray(chi2_tail(statistic, self.df)))

    def _statistics(self, Y: FloatArray) -> FloatArray:
        """Likelihood ratios, NaN where one of two fits failed."""
        small = self.analysis.fits(Y, self.null, self.ml)
        large = self.analysis.fits(Y, self.alternative, self.ml)
        ratio = np.maximum(small.deviance - large.deviance, 0.0)
        return np.where(both_good(small, large), ratio, np.nan)

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
        return without_estimates(np.where(both_good(small, large), tails, np.nan))

    def _tail(self, statistic: float) -> float:
        if not np.isfinite(statistic):
            return float("nan")
        if self.how == "exact":
            return sample_tail(self.null_sample, statistic)
        if self.how == "chi-square":
            return float(chi2_tail(statistic, self.df))
        return mixture_tail(statistic, self.df)
