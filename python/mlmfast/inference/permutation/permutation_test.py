"""Permutation tests of fixed effects and of random effects."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlmfast.arrays import CodeArray, FloatArray, IntArray
from mlmfast.clusters.blocks import cluster_factor
from mlmfast.clusters.simulate import seed_sequence
from mlmfast.criterion.parameters.covariance_parameter import check_engine
from mlmfast.errors import DataError, ModelError, SingularFitWarning
from mlmfast.fitted.fitted import Fitted
from mlmfast.guessed_arguments import told
from mlmfast.handed_out import hands_out_copies
from mlmfast.inference.permutation.exchange import (
    cells_of,
    whitened,
    whole_clusters,
    within_cells,
)
from mlmfast.inference.permutation.hypotheses import Hypothesis, read_hypothesis
from mlmfast.inference.permutation.schemes import Exchange
from mlmfast.prepared.fit_model import fit_model
from mlmfast.prepared.model import PreparedModel

#: Statistics closer than this, relatively, are equal: refits of mirrored data differ by rounding.
_EQUAL = 1e-7
SCHEMES = ("within", "clusters", "whitened")
_WORDS = {
    "within": "residuals within clusters",
    "clusters": "whole clusters",
    "whitened": "whitened residuals",
}


@hands_out_copies
@dataclass(frozen=True)
class PermutationTest:
    """A permutation test.

    Attributes
    ----------
    hypothesis
        What is tested.
    statistic, statistic_name
        Its value in the data, and what it is.
    pvalue
        Share of arrangements whose statistic is as large; of arrangements at random, with the one
        that was seen among them, (1 + count) / (1 + n). Arrangements that failed are left out of
        both counts: it is the p-value given that the arrangement is none of these.
    n
        Arrangements that count.
    n_failed
        Arrangements without a statistic: the refit did not converge, or (for t and F) what is
        tested coincides with other columns of X there.
    at_random
        Whether arrangements were drawn at random, and not all taken.
    permuted
        What changed places: "within", "clusters" or "whitened".
    null : shape (n,), the statistics.
    """

    hypothesis: str
    statistic: float
    statistic_name: str
    pvalue: float
    n: int
    n_failed: int
    at_random: bool
    permuted: str
    null: FloatArray

    @property
    def exact(self) -> bool:
        """Whether the p-value is that of all arrangements there are: none drawn, none failed."""
        return not self.at_random and self.n_failed == 0

    @property
    def standard_error(self) -> float:
        """Monte Carlo error of the p-value; 0 where it is exact.

        NaN where all arrangements were taken and some failed: none was drawn, and what the failed
        ones would say is not known; see `bounds`.
        """
        if not self.at_random:
            return 0.0 if self.exact else float("nan")
        p = self.pvalue
        return float(np.sqrt(p * (1.0 - p) / self.n))

    @property
    def bounds(self) -> tuple[float, float]:
        """The p-value if all failed arrangements were less extreme, and if all were as extreme."""
        counted = self.n + int(self.at_random)
        as_large, all_ = self.pvalue * counted, counted + self.n_failed
        return as_large / all_, (as_large + self.n_failed) / all_

    def __repr__(self) -> str:
        total = self.n + self.n_failed
        many = f"{self.n:,} at random" if self.at_random else f"all {total:,} arrangements"
        error = f" (Monte Carlo error {self.standard_error:.2g})" if self.at_random else ""
        lost = ""
        if self.n_failed:
            low, high = self.bounds
            lost = (
                f", of which {self.n_failed:,} failed and are left out (with them p would be "
                f"{low:.4g} to {high:.4g})"
            )
            many = f"{total:,} at random" if self.at_random else many
        return (
            f"Permutation test of {self.hypothesis}: {self.statistic_name} = {self.statistic:.4g}, "
            f"p = {self.pvalue:.4g}{error}, permuting {_WORDS[self.permuted]}, {many}{lost}"
        )


@told()
def permutation_test(
    fit: Any,
    test: Any,
    *,
    n: int = 999,
    permute: str | None = None,
    cluster: object = None,
    statistic: str = "wald",
    alternative: str = "two-sided",
    seed: Any = None,
) -> PermutationTest:
    """Test fixed or random effects by permutations, refitted in batches.

    Where there are no more than n distinct arrangements, all of them are taken, and the p-value is
    that of the whole distribution; unless some have no statistic, which are left out and counted.

    Parameters
    ----------
    fit
        What `lmm` returned.
    test
        A coefficient or term (its type III hypothesis), or what `LMMResult.contrast` takes, against
        0; or random effects, ``"(1 | g)"`` or ``"sd_x|g"``, by the restricted likelihood ratio.
    n
        Arrangements at random, and the most of which all are taken.
    permute
        "within": residuals of the model without what is tested, within clusters (Freedman and Lane
        1983); exact for random intercepts, where the rest of the model is constant within clusters.
        "clusters": the same, whole clusters for each other, where all have the same rows; where
        they have not, the values of the tested columns (the arms of a trial with clusters of
        unequal sizes); exact where clusters differ in nothing else. "whitened": residuals of the
        model without what is tested, L^-1 (y - X beta) with V = L L', all of them (Lee and Braun
        2012); for any model, as nearly as V is estimated. By default the first that serves:
        "clusters" for what is constant within them, "within" beside random intercepts, "whitened"
        for the rest and for random effects.
    cluster
        For "clusters", a grouping factor, column or labels; the outermost factor by default.
    statistic
        "wald": t of one coefficient, F of several; "lr": the likelihood ratio, by ML.
    alternative
        "two-sided", "greater" or "less", for t.
    seed
        int, SeedSequence, Generator, or None.

    Raises
    ------
    ModelError
        For what is not in the model or not estimable, and what cannot be exchanged.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> data = mlm.load_sleepstudy()
    >>> data["arm"] = ["a" if int(s) % 2 else "b" for s in data["Subject"]]
    >>> fit = mlm.lmm("Reaction ~ arm + Days + (1 | Subject)", data)
    >>> mlm.permutation_test(fit, "arm", n=199, seed=1)
    Permutation test of arm: |t| = 0.6393, p = 0.555 (Monte Carlo error 0.035), permuting whole
    clusters, 199 at random
    """
    if not isinstance(fit, Fitted):
        raise ModelError(f"fit is {type(fit).__name__}; give what mlm.lmm(...) returned")
    fit._needs_likelihood("permutation_test()")
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise DataError(f"n is {n!r}; the number of arrangements must be an integer >= 1")
    if permute is not None and permute not in SCHEMES:
        raise ModelError(f"permute is {permute!r}; use 'within', 'clusters' or 'whitened'")
    source = fit._needs_source("a permutation test")
    check_engine(source.model, "a permutation test")
    hypothesis = read_hypothesis(fit, test, statistic, alternative)
    if hypothesis.L is None and permute in ("within", "clusters"):
        raise ModelError("random effects are tested with permute='whitened'")
    chosen, exchange = _exchange(fit, hypothesis, permute, cluster)
    arrangements = exchange.arrangements
    if arrangements.count < 2:
        raise ModelError(
            f"nothing can be exchanged by permute={chosen!r}: there is one arrangement only"
        )
    observed = float(hypothesis.statistics(source.design.working_response[None])[0])
    all_taken = arrangements.count <= n
    orders = (
        arrangements.every()
        if all_taken
        else arrangements.some(int(n), np.random.default_rng(seed_sequence(seed)))
    )
    null = exchange.statistics(hypothesis, orders)
    return _counted(hypothesis, observed, null, not all_taken, chosen)


def _counted(
    hypothesis: Hypothesis, observed: float, null: FloatArray, at_random: bool, permuted: str
) -> PermutationTest:
    """The test from the statistic seen, and those of the arrangements, NaN where they failed.

    Raises
    ------
    ModelError
        Where the one seen, or all others, failed.
    """
    good = null[np.isfinite(null)]
    if not np.isfinite(observed) or good.size == 0:
        where = "any arrangement" if np.isfinite(observed) else "the data"
        raise ModelError(
            f"the {hypothesis.label} statistic of {hypothesis.text} cannot be computed in {where}: "
            "the fit does not converge, or its variance is 0; try a simpler covariance structure"
        )
    as_large = int((good >= observed - _EQUAL * max(abs(observed), _EQUAL)).sum())
    more = int(at_random)
    sign = -1.0 if hypothesis.sided == "less" else 1.0
    return PermutationTest(
        hypothesis=hypothesis.text,
        statistic=sign * observed,
        statistic_name=hypothesis.label,
        pvalue=(as_large + more) / (len(good) + more),
        n=len(good),
        n_failed=len(null) - len(good),
        at_random=at_random,
        permuted=permuted,
        null=sign * good,
    )


def _exchange(
    fit: Fitted, hypothesis: Hypothesis, permute: str | None, cluster: object
) -> tuple[str, Exchange]:
    """The scheme asked for, or the first that serves."""
    if cluster is not None and permute not in (None, "clusters"):
        raise ModelError(f"cluster= goes with permute='clusters', and not with {permute!r}")
    chosen = permute or ("clusters" if cluster is not None else _default(fit, hypothesis))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        null = fit_model(
            PreparedModel(hypothesis.null), Fitted, hypothesis.method, ddf="asymptotic"
        )
    if chosen == "within":
        return chosen, within_cells(fit, null, hypothesis)
    if chosen == "clusters":
        return chosen, whole_clusters(fit, null, hypothesis, cluster)
    return chosen, whitened(fit, null)


def _default(fit: Fitted, hypothesis: Hypothesis) -> str:
    design = hypothesis.design
    if hypothesis.L is None or not fit._record.groups:
        return "whitened"
    try:
        outer = cluster_factor(fit._needs_source("a permutation test"), fit._record, None)
    except ModelError:
        # Crossed factors: no clusters are independent.
        return "whitened"
    tested = design.fixed_matrix[:, hypothesis.L.any(axis=0)]
    if _is_constant(tested, outer.codes, outer.n_levels):
        return "clusters"
    plain = design.residual is None and design.weights is None
    intercepts = all(column is None for term in design.random for column in term.columns)
    cells = cells_of(design)
    varies = not _is_constant(tested, cells, int(cells.max()) + 1)
    return "within" if plain and intercepts and varies else "whitened"


def _is_constant(columns: FloatArray, codes: IntArray | CodeArray, n_levels: int) -> bool:
    """Whether columns are constant within levels."""
    first = np.empty(n_levels, dtype=np.intp)
    first[codes] = np.arange(len(codes))
    return bool((columns[first][codes] == columns).all())
