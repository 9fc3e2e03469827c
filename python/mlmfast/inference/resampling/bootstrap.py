"""Bootstraps of a fit: responses drawn from the model or its residuals, or clusters drawn anew."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.batch.fit_batch import FitBatch
from mlmfast.clusters.blocks import cluster_factor
from mlmfast.clusters.simulate import draw_responses, seed_sequence
from mlmfast.confidence_level import check_level
from mlmfast.criterion.parameters.covariance_parameter import check_engine
from mlmfast.design.responses import response_rows
from mlmfast.display.html import in_text
from mlmfast.display.printed_frame import PrintedFrame
from mlmfast.distributions import normal_quantile
from mlmfast.errors import DataError, ModelError
from mlmfast.handed_out import copied
from mlmfast.inference.resampling.accelerated import bca, skewed_jackknife, skewed_scores
from mlmfast.inference.resampling.drawn_clusters import DrawnClusters
from mlmfast.inference.resampling.refits import Refits, RefitValues
from mlmfast.inference.resampling.refits_of_clusters import refit_clusters
from mlmfast.inference.resampling.residual_parts import ResidualParts
from mlmfast.running.progress_bar import ProgressBar
from mlmfast.words import is_one_of

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

#: Numbers in one batch of responses, and responses at most.
_NUMBERS, _MOST = 20_000_000, 2048
#: Responses in the first batch where progress is watched, and seconds of one worth doubling.
_FIRST, _HALF_A_SECOND = 16, 0.25
KINDS = ("parametric", "residual", "cluster")
INTERVALS = ("percentile", "basic", "normal", "bca")


class Bootstrap(PrintedFrame):
    """A bootstrap of a fit: a row a parameter, with estimate, bias, se and 95 % limits.

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
    kind
        "parametric", "residual" or "cluster".

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

    _metadata = [  # noqa: RUF012 (what pandas asks of a subclass)
        "title", "notes", "replicates", "estimates", "n_failed", "n_singular", "kind", "_scores",
        "_jackknife",
    ]  # fmt: skip

    replicates: pd.DataFrame = copied()
    estimates: pd.Series[float] = copied()

    def __init__(
        self,
        replicates: pd.DataFrame,
        estimates: pd.Series[float],
        n_failed: int,
        n_singular: int,
        scores: FloatArray,
        kind: str = "parametric",
        jackknife: Callable[[], FloatArray] | None = None,
    ) -> None:
        """Collect the replicates.

        ``scores``, (n, n_scores), serve BCa's acceleration; that of clusters drawn anew is from the
        estimates without each of them, (n_clusters, k).
        """
        self.replicates, self.estimates = replicates, estimates
        self.n_failed, self.n_singular, self.kind = n_failed, n_singular, kind
        self._scores, self._jackknife = scores, jackknife
        table = pd.DataFrame({"estimate": self.estimates, "bias": self.bias, "se": self.bse})
        super().__init__(table.join(self.conf_int()))

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
            the least favourable direction (equation 6.7 there); of clusters drawn anew that of the
            jackknife (equation 7.3), a refit without each cluster.

        Raises
        ------
        ModelError
            For another kind, or a level outside (0, 1).
        """
        check_level(level)
        if not is_one_of(kind, INTERVALS):
            raise ModelError(f"kind is {kind!r}; use 'percentile', 'basic', 'normal' or 'bca'")
        tails = np.array([(1.0 - level) / 2.0, (1.0 + level) / 2.0])
        left = self._jackknife() if kind == "bca" and self._jackknife is not None else None
        rows = [self._limits(j, tails, kind, left) for j in range(self.replicates.shape[1])]
        return pd.DataFrame(rows, index=self.replicates.columns, columns=["lower", "upper"])

    def _limits(
        self, column: int, tails: FloatArray, kind: str, left: FloatArray | None
    ) -> FloatArray:
        values = self.replicates.iloc[:, column].to_numpy()
        good = np.isfinite(values)
        values, estimate = values[good], float(self.estimates.iloc[column])
        if values.size < 2:
            return np.full(2, np.nan)
        if kind == "percentile":
            return np.asarray(np.quantile(values, tails))
        if kind == "basic":
            return np.asarray(2.0 * estimate - np.quantile(values, tails[::-1]))
        if kind == "normal":
            middle = 2.0 * estimate - values.mean()
            return np.asarray(middle + normal_quantile(tails) * values.std(ddof=1))
        acceleration = (
            skewed_scores(values, self._scores[good])
            if left is None
            else skewed_jackknife(left[:, column])
        )
        return bca(values, estimate, acceleration, tails)

    def plot(  # type: ignore[override]
        self,
        which: str | Sequence[str] | None = None,
        level: float = 0.95,
        kind: str = "percentile",
        ax: Any = None,
    ) -> Any:
        """Replicates as histograms, with the estimate and its interval; returns the axes.

        Parameters
        ----------
        which
            Names of parameters; all by default.
        level, kind
            Of the interval, as for `conf_int`.
        ax
            Where to draw: one axes a parameter.

        Raises
        ------
        ModelError
            For a name that is no parameter of the bootstrap.
        """
        from mlmfast.display.pictures.bootstrap_plot import bootstrap_plot

        names = [which] if isinstance(which, str) else list(which or self.estimates.index)
        missing = [name for name in names if name not in self.estimates.index]
        if missing:
            known = ", ".join(map(repr, self.estimates.index))
            raise ModelError(f"{missing[0]!r} is no parameter of the bootstrap; it has {known}")
        limits = self.conf_int(level, kind)
        return bootstrap_plot(
            self.replicates, self.estimates[names], limits, f"{100 * level:g} % {kind} interval", ax
        )

    def __repr__(self) -> str:
        n = len(self.replicates)
        head = f"{self.kind.capitalize()} bootstrap of {n} samples, {self.n_failed} failed"
        return f"{head}, {self.n_singular} singular\n{self.frame.to_string()}"

    def _repr_html_(self) -> str:
        return in_text(repr(self))


def bootstrap(
    fit: Fitted,
    n: int = 1000,
    seed: Any = None,
    statistic: Callable[[FitBatch], Any] | None = None,
    *,
    kind: str = "parametric",
    cluster: object = None,
    progress: bool | None = None,
) -> Bootstrap:
    """Bootstrap: n samples refitted; see `Bootstrap` for estimates, errors and intervals.

    Parameters
    ----------
    n
        Samples.
    seed
        int, SeedSequence, Generator, or None for fresh entropy. A sample has a stream of its own.
    statistic
        Takes a `FitBatch` and returns one number a fit, an array (n_fits, k), or a dict of names
        to such; by default all fixed effects and covariance parameters.
    kind
        "parametric": responses drawn from the model, as lme4's `bootMer`. "residual": random
        effects and residuals drawn from the fit's own, centred and made as variable as the model
        says (Carpenter, Goldstein and Rasbash 2003; lmeresampler's "residual"); correlated or
        weighted residuals are drawn uncorrelated and of variance 1. "cluster": whole clusters drawn
        with replacement, with their covariates (lmeresampler's "case"); nothing of the model is
        taken for true but that clusters are independent.
    cluster
        For "cluster", what is drawn: a grouping factor, a column, or a label for each row; by
        default the outermost grouping factor.
    progress
        A bar on a terminal or in a notebook: None after two seconds, True at once, False never.

    Raises
    ------
    DataError
        For a bad n or seed, or a statistic of the wrong shape.
    ModelError
        For an unknown kind, related levels, and clusters that the model correlates.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
    >>> drawn = fit.bootstrap(200, seed=1, kind="cluster")
    >>> drawn.conf_int(kind="bca").loc["Days"].round(0).tolist()
    [8.0, 14.0]
    """
    fit._needs_likelihood("bootstrap()")
    source, record = fit._needs_source("a bootstrap"), fit._record
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 2:
        raise DataError(f"n is {n!r}; the number of samples must be an integer >= 2")
    if statistic is not None and not callable(statistic):
        raise DataError(
            f"statistic is {statistic!r}; give a function of a FitBatch, such as "
            "lambda fits: fits.params[:, 1]"
        )
    if not is_one_of(kind, KINDS):
        raise ModelError(f"kind is {kind!r}; use 'parametric', 'residual' or 'cluster'")
    if cluster is not None and kind != "cluster":
        raise ModelError(f"cluster= goes with kind='cluster', and not with {kind!r}")
    check_engine(source.model, "a bootstrap")
    refits = Refits(source, record, type(fit), statistic)
    estimates = refits.refit([source.design.working_response])
    jackknife: Callable[[], FloatArray] | None = None
    batches: list[RefitValues] = []
    entropy = seed_sequence(seed)
    with ProgressBar("bootstrap", int(n), progress) as bar:
        if kind == "cluster":
            drawn = DrawnClusters.of(source.design, cluster_factor(source, record, cluster))
            jackknife = partial(_left_out, refits, drawn)
            samples = drawn.samples(int(n), entropy)
            found = _of_clusters(refits, drawn, samples, int(n), bar.is_live)
        else:
            parts = None if kind == "parametric" else ResidualParts.of(source, record, fit._effects)
            found = _of_responses(refits, parts, int(n), entropy, bar.is_live)
        for batch in found:
            batches.append(batch)
            bar.advance(len(batch.failed))
    whole = RefitValues(*(np.concatenate(part) for part in zip(*batches, strict=True)))
    names = list(refits.names)
    values = np.where(whole.failed[:, None], np.nan, whole.values)
    return Bootstrap(
        replicates=pd.DataFrame(values, columns=names),
        estimates=pd.Series(estimates.values[0], index=names),
        n_failed=int(whole.failed.sum()),
        n_singular=int((whole.singular & ~whole.failed).sum()),
        scores=whole.scores,
        kind=kind,
        jackknife=jackknife,
    )


def _of_responses(
    refits: Refits,
    parts: ResidualParts | None,
    n: int,
    entropy: np.random.SeedSequence,
    is_watched: bool,
) -> Iterator[RefitValues]:
    """Refits of responses drawn from the model, or from the fit's own parts, batch by batch.

    Batches are cut small where somebody watches: a fit is the same in any batch.
    """
    source, first = refits.source, 0
    numbers = max(source.design.n_obs, source.criterion.n_theta**2)
    for count in sizes(n, max(1, min(_MOST, _NUMBERS // numbers)), is_watched):
        responses = (
            draw_responses(source, refits.record, count, entropy, first)
            if parts is None
            else parts.responses(count, entropy, first)
        )
        first += count
        yield refits.refit(response_rows(responses, source.design))


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


def _of_clusters(
    refits: Refits, clusters: DrawnClusters, samples: Iterator[IntArray], n: int, is_watched: bool
) -> Iterator[RefitValues]:
    """Refits of n samples of clusters, batch by batch."""
    design = clusters.design
    numbers = design.n_obs * (len(design.x) + sum(len(term.columns) for term in design.random) + 1)
    for count in sizes(n, max(1, min(_MOST, _NUMBERS // numbers)), is_watched):
        yield refit_clusters(refits, clusters, list(islice(samples, count)))


def _left_out(refits: Refits, clusters: DrawnClusters) -> FloatArray:
    """Values without each cluster, NaN where there is no fit."""
    found = _of_clusters(refits, clusters, clusters.all_but_one(), len(clusters), False)
    return np.concatenate([np.where(one.failed[:, None], np.nan, one.values) for one in found])
