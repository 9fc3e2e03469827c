"""Draws from the posterior of the covariance parameters and the fixed effects.

With a flat prior of beta the posterior of the covariance parameters is their prior times the
restricted likelihood, and beta given them is normal about its estimate with (X'V^-1 X)^-1. The
parameters are drawn by an independence chain (Tierney 1994, Annals of Statistics 22, 1701):
candidates from a t distribution with four degrees of freedom about the estimates, of the logarithms
of variances, each taken with probability min(1, w / w of the one before), w the posterior over the
candidates' density.

References: Wolfinger and Kass (2000) Biometrics 56, 768; SAS/STAT User's Guide, PRIOR statement of
PROC MIXED.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray, IntArray, block_diagonal
from mlmfast.clusters.moved_parameters import Moved
from mlmfast.clusters.simulate import seed_sequence
from mlmfast.display.printed_frame import PrintedFrame
from mlmfast.errors import ModelError
from mlmfast.fitted.estimates import Estimates, estimates_of
from mlmfast.handed_out import copied
from mlmfast.inference.resampling.candidates import Candidates, Place, information_at, place_of
from mlmfast.inference.resampling.proper_posteriors import check_proper
from mlmfast.information.information import Information
from mlmfast.running.memory import check_memory
from mlmfast.words import is_one_of

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

PRIORS = ("jeffreys", "flat")
#: Candidates that the chain has gone through before the first draw.
_BEFORE = 200
#: Share of candidates taken, and how many, below which draws are hardly any.
_RARELY, _FEW = 0.05, 100
#: Parameters whose likelihood is computed together.
_TOGETHER = 2_000
_QUANTILES = {"q2.5": 0.025, "median": 0.5, "q97.5": 0.975}


class Posterior(PrintedFrame):
    """Draws from a posterior: a row a parameter, with mean, sd and quantiles.

    Attributes
    ----------
    draws : DataFrame
        One row a draw, fixed effects and covariance parameters by name.
    acceptance
        Share of the candidates that the chain took.
    prior
        "jeffreys" or "flat".
    """

    _metadata = ["title", "draws", "acceptance", "prior"]  # noqa: RUF012

    draws: pd.DataFrame = copied()

    def __init__(self, draws: pd.DataFrame, acceptance: float, prior: str) -> None:
        self.draws, self.acceptance, self.prior = draws, acceptance, prior
        table = pd.DataFrame({"mean": draws.mean(), "sd": draws.std()})
        for name, at in _QUANTILES.items():
            table[name] = draws.quantile(at)
        super().__init__(table)
        self.title = (
            f"Posterior, {prior} prior: {len(draws):,} draws, {100 * acceptance:.0f} % accepted"
        )


def posterior(fit: Fitted, n: int = 1000, seed: Any = None, prior: str = "jeffreys") -> Posterior:
    """Draw from the posterior of the covariance parameters and the fixed effects.

    PROC MIXED's PRIOR statement: the restricted likelihood times a prior of the covariance
    parameters (variances and covariances, correlations, ranges, as the reports name them), the
    fixed effects having a flat one. Draws are of an independence chain, so that neighbours may be
    the same; of variances with few groups the flat prior's posterior has no mean, and its
    quantiles are what to look at. A variance estimated at 0 is drawn too, from the positive ones;
    what the fit holds (``hold=``) is known, and the others are drawn given it.

    Parameters
    ----------
    n
        Number of draws.
    seed
        int, SeedSequence, Generator, or None.
    prior
        "jeffreys": the root of the determinant of the expected information (Box and Tiao 1973),
        whatever the parameters are; "flat": constant in the parameters.

    Raises
    ------
    ModelError
        For fits by ML or by moments, with undetermined parameters, with correlations of random
        effects held, or on a boundary that is more than a variance of 0 (a singular covariance
        matrix of several effects); for a flat prior of variances of so few levels that the
        posterior has no finite integral (three in a model with an intercept); and where
        candidates hardly ever have a likelihood or are hardly ever taken.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
    >>> found = fit.posterior(2000, seed=1)
    >>> list(found.index)
    ['(Intercept)', 'Days', 'Var((Intercept)) | Subject', 'Residual']
    >>> bool(0.5 < found.acceptance < 1.0)
    True
    """
    if not is_one_of(prior, PRIORS):
        raise ModelError(f"prior is {prior!r}; use {' or '.join(map(repr, PRIORS))}")
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise ModelError(f"n is {n!r}; the number of draws must be an integer >= 1")
    _check(fit)
    place = place_of(fit)
    if prior == "flat":
        check_proper(place)
    about = place.about
    # Candidates, their estimates, covariances and what was drawn of each.
    size = len(about.parameters.names) + len(about.c) ** 2 + 4 * len(about.c)
    check_memory(16.0 * size * int(n), f"a posterior of {int(n):,} draws", "draw fewer")
    candidates = Candidates(place)
    generator = np.random.default_rng(seed_sequence(seed))
    values, density = candidates.drawn(n + _BEFORE, generator)
    moved, known = candidates.at(values)
    weight = np.full(len(values), -np.inf)
    found = _estimates(about, [moved[k] for k in known])
    own = -0.5 * found.deviance
    if prior == "jeffreys":
        own = own + np.array([_log_jeffreys(place, moved[k]) for k in known])
    weight[known] = np.where(np.isfinite(own), own, -np.inf) - density[known]
    at, acceptance = _chain(weight, generator)
    if acceptance < _RARELY and acceptance * len(values) < _FEW:
        raise ModelError(
            f"the chain took {acceptance * len(values):.0f} of {len(values):,} candidates, too few "
            "values for a posterior: the parameters are too many, or too far from normal, for this "
            "chain; ask for many more draws, use bootstrap(), or a structure of fewer parameters"
        )
    at = at[_BEFORE:]
    position = np.full(len(values), -1, dtype=np.intp)
    position[known] = np.arange(len(known))
    chosen = position[at]
    root = np.linalg.cholesky(found.vcov[chosen])
    noise = generator.standard_normal((n, root.shape[1]))
    beta = found.beta[chosen] + (root @ noise[:, :, None])[:, :, 0]
    names = [fit._record.x_names[j] for j in fit._record.kept]
    columns = np.concatenate([beta, values[at][:, candidates.order]], axis=1)
    draws = pd.DataFrame(columns, columns=[*names, *about.parameters.names])
    return Posterior(draws, acceptance, prior)


def _check(fit: Fitted) -> None:
    """Refuse fits that have no posterior, or none that this chain draws from."""
    fit._needs_likelihood("posterior()")
    source, record = fit._needs_source("draws from a posterior", of_sums=True), fit._record
    if record.method != "REML":
        raise ModelError(
            "the posterior is of the restricted likelihood, in which the fixed effects are "
            "integrated out; fit with method='REML'"
        )
    if record.absorbed is not None or not source.model.core.offers("likelihood_derivatives"):
        raise ModelError(
            "posterior() is not offered beside an eliminated factor or by the iterative engine; "
            "fit with absorb=False, or use bootstrap()"
        )
    if record.undetermined is not None:
        raise ModelError(
            "draws are about covariance parameters that the data determine, which those of this "
            "fit are not all; use bootstrap(), or a simpler covariance structure"
        )
    if source.provenance is not None and source.provenance.call.get("bounds"):
        raise ModelError(
            "bounds= are no part of the prior; take the posterior of a fit without them and leave "
            "out the draws beyond"
        )
    if not all(term.bounded for term in record.terms):
        raise ModelError(
            "the prior is of covariance matrices, and bounded=False lets variances be negative; "
            "take the posterior of a fit without it"
        )


def _estimates(about: Information, moved: list[Moved]) -> Estimates:
    """Likelihood and fixed effects at each set of parameters."""
    parts = []
    for first in range(0, len(moved), _TOGETHER):
        some = moved[first : first + _TOGETHER]
        theta = np.array([own.theta for own in some])
        sigma2 = np.log([own.sigma2 for own in some]) if about.model.profiled else None
        fits = np.full(len(some), about.fit)
        parts.append(estimates_of(about.model, about.criterion, theta, sigma2, fits))
    join: Callable[[str], FloatArray] = lambda name: np.concatenate(  # noqa: E731
        [getattr(part, name) for part in parts]
    )
    return Estimates(join("beta"), join("vcov"), join("sigma2"), (), join("deviance"))


def _log_jeffreys(place: Place, moved: Moved) -> float:
    """Half the logarithm of the determinant of the expected information of what is drawn."""
    about = place.about
    theta = moved.theta[None]
    here = information_at(about, theta, moved.sigma2 if about.model.profiled else 1.0)
    if place.held.any():
        own = place.by_natural(here.expected, here.parameters)
        sign, logdet = np.linalg.slogdet(own)
        return 0.5 * float(logdet) if sign > 0 else -np.inf
    sign, logdet = np.linalg.slogdet(here.expected)
    blocks = here.parameters.blocks
    by_free = np.linalg.slogdet(block_diagonal([block.by_free for block in blocks]))[1]
    return 0.5 * float(logdet) - float(by_free) if sign > 0 else -np.inf


def _chain(weight: FloatArray, generator: np.random.Generator) -> tuple[IntArray, float]:
    """Which candidate the chain is at after each, and the share that it took."""
    uniform = np.log(generator.uniform(size=len(weight)))
    now, taken = int(np.argmax(weight > -np.inf)), 0
    at = np.empty(len(weight), dtype=np.intp)
    for k in range(len(weight)):
        if uniform[k] < weight[k] - weight[now]:
            now, taken = k, taken + 1
        at[k] = now
    return at, taken / len(weight)
