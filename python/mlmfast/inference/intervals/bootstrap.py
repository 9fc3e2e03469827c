"""Parametric bootstrap: new responses from the fitted model, refitted in batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.batch.fit_batch import FitBatch
from mlmfast.clusters.simulate import draw_responses, seed_sequence
from mlmfast.confidence_level import check_level
from mlmfast.criterion.parameters.covariance_parameter import check_engine
from mlmfast.design.responses import response_rows
from mlmfast.distributions import normal_cdf, normal_quantile
from mlmfast.errors import DataError, ModelError
from mlmfast.handed_out import hands_out_copies
from mlmfast.inference.intervals.refits import Refits, RefitValues
from mlmfast.running.progress_bar import ProgressBar
from mlmfast.words import is_one_of

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

#: Numbers in one batch of responses, and responses at most.
_NUMBERS, _MOST = 20_000_000, 2048
#: Responses in the first batch where progress is watched, and seconds of one worth doubling.
_FIRST, _HALF_A_SECOND = 16, 0.25


@hands_out_copies
@dataclass(frozen=True)
class Bootstrap:
    """A parametric bootstrap of a fit.

    Attributes
    ----------
    replicates : one row a sample, one column a parameter
        Fixed effects by name, covariance parameters that the data determine as `LMMResult.profile`
        names them, or what
        ``statistic`` gave; NaN in samples whose refit failed.
    estimates
        The same of the fit itself.
    n_failed
        Samples whose refit did not converge; they are left out of everything below.
    n_singular
        Samples whose refit is singular; they count.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
    >>> boot = fit.bootstrap(200, seed=1)
    >>> boot.replicates.shape, boot.n_failed
    ((200, 4), 0)
    >>> bool((boot.conf_int().lower < boot.estimates).all())
    True
    """

    replicates: pd.DataFrame
    estimates: pd.Series[float]
    n_failed: int
    n_singular: int
    #: What the statistics are regressed on for BCa's acceleration, (n, n_scores).
    _scores: FloatArray

    @property
    def bias(self) -> pd.Series[float]:
        """Mean of the replicates minus the estimate."""
        return self.replicates.mean() - self.estimates

    @property
    def bse(self) -> pd.Series[float]:
        """Standard deviation of the replicates."""
        return self.replicates.std()

    def conf_int(self, level: float = 0.95, kind: str = "percentile") -> pd.DataFrame:
        """Confidence intervals, columns ``lower`` and ``upper``.

        Parameters
        ----------
        level
            Between 0 and 1.
        kind
            "percentile", "basic", "normal" (estimate minus bias, plus or minus z standard errors)
            or "bca", bias-corrected and accelerated (Efron 1987, JASA 82:171). Its acceleration is
            a sixth of the skewness of the statistic's linear part in the scores at the estimate,
            the least favourable direction (equation 6.7 there).

        Raises
        ------
        ModelError
            For another kind, or a level outside (0, 1).
        """
        check_level(level)
        tails = np.array([(1.0 - level) / 2.0, (1.0 + level) / 2.0])
        rows = [self._limits(name, tails, kind) for name in self.replicates.columns]
        return pd.DataFrame(rows, index=self.replicates.columns, columns=["lower", "upper"])

    def _limits(self, name: str, tails: FloatArray, kind: str) -> FloatArray:
        values = self.replicates[name].to_numpy()
        good = np.isfinite(values)
        values, estimate = values[good], float(self.estimates[name])
        if values.size < 2:
            return np.full(2, np.nan)
        if not is_one_of(kind, ("percentile", "basic", "normal", "bca")):
            raise ModelError(f"kind is {kind!r}; use 'percentile', 'basic', 'normal' or 'bca'")
        if kind == "percentile":
            return np.asarray(np.quantile(values, tails))
        if kind == "basic":
            return np.asarray(2.0 * estimate - np.quantile(values, tails[::-1]))
        if kind == "normal":
            middle = 2.0 * estimate - values.mean()
            return np.asarray(middle + normal_quantile(tails) * values.std(ddof=1))
        return self._bca(values, estimate, self._scores[good], tails)

    @staticmethod
    def _bca(
        values: FloatArray, estimate: float, scores: FloatArray, tails: FloatArray
    ) -> FloatArray:
        n = len(values)
        below = float(np.mean(values < estimate) + 0.5 * np.mean(values == estimate))
        z0 = normal_quantile(np.clip(below, 0.5 / n, 1.0 - 0.5 / n))
        centred = scores - scores.mean(axis=0)
        weights, *_ = np.linalg.lstsq(centred, values - values.mean(), rcond=None)
        linear = centred @ weights
        spread = float(np.sqrt(np.mean(linear**2)))
        acceleration = float(np.mean((linear / spread) ** 3)) / 6.0 if spread > 0 else 0.0
        z = z0 + normal_quantile(tails)
        return np.asarray(np.quantile(values, normal_cdf(z0 + z / (1.0 - acceleration * z))))

    def __repr__(self) -> str:
        n = len(self.replicates)
        table = pd.DataFrame({"estimate": self.estimates, "bias": self.bias, "se": self.bse})
        table = table.join(self.conf_int())
        head = f"Parametric bootstrap of {n} samples, {self.n_failed} failed"
        return f"{head}, {self.n_singular} singular\n{table.to_string()}"


def bootstrap(
    fit: Fitted,
    n: int = 1000,
    seed: Any = None,
    statistic: Callable[[FitBatch], Any] | None = None,
    *,
    progress: bool | None = None,
) -> Bootstrap:
    """Parametric bootstrap: n responses drawn from the fit and refitted; see `Bootstrap`.

    Parameters
    ----------
    n
        Samples.
    seed
        int, SeedSequence, Generator, or None for fresh entropy.
    statistic
        Takes a `FitBatch` and returns one number a fit, an array (n_fits, k), or a dict of names
        to such; by default all fixed effects and covariance parameters.
    progress
        A bar on a terminal or in a notebook: None after two seconds, True at once, False never.

    Raises
    ------
    DataError
        For a bad n or seed, or a statistic of the wrong shape.
    """
    source, record = fit._needs_source("a bootstrap"), fit._record
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 2:
        raise DataError(f"n is {n!r}; the number of samples must be an integer >= 2")
    if statistic is not None and not callable(statistic):
        raise DataError(
            f"statistic is {statistic!r}; give a function of a FitBatch, such as "
            "lambda fits: fits.params[:, 1]"
        )
    check_engine(source.model, "a bootstrap")
    design = source.design
    refits = Refits(source, record, type(fit), statistic)
    estimates = refits.refit([design.working_response])
    names = list(refits.names)
    numbers = max(design.n_obs, source.criterion.n_theta**2)
    size = max(1, min(_MOST, _NUMBERS // numbers))
    batches, entropy, first = [], seed_sequence(seed), 0
    with ProgressBar("bootstrap", int(n), progress) as bar:
        # Batches are cut small where somebody watches: a fit is the same in any batch.
        for count in sizes(int(n), size, bar.is_live):
            responses = draw_responses(source, record, count, entropy, first)
            batches.append(refits.refit(response_rows(responses, design)))
            first += count
            bar.advance(count)
    whole = RefitValues(*(np.concatenate(part) for part in zip(*batches, strict=True)))
    values = np.where(whole.failed[:, None], np.nan, whole.values)
    return Bootstrap(
        replicates=pd.DataFrame(values, columns=names),
        estimates=pd.Series(estimates.values[0], index=names),
        n_failed=int(whole.failed.sum()),
        n_singular=int((whole.singular & ~whole.failed).sum()),
        _scores=whole.scores,
    )


def sizes(n: int, most: int, is_watched: bool) -> Iterator[int]:
    """Sizes of batches that make up n; watched ones are of at most half a second each.

    Examples
    --------
    >>> list(sizes(1000, 400, False)), sum(sizes(1000, 400, True))
    ([400, 400, 200], 1000)
    """
    size = min(most, _FIRST) if is_watched else most
    while n > 0:
        started, count = time.monotonic(), min(size, n)
        yield count
        n -= count
        if is_watched and time.monotonic() - started < _HALF_A_SECOND:
            size = min(most, 2 * size)
