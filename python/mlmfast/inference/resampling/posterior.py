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

from mlmfast.arrays import BoolArray, FloatArray, IntArray, block_diagonal
from mlmfast.clusters.moved_parameters import Moved, MovedCovariances
from mlmfast.clusters.simulate import seed_sequence
from mlmfast.criterion.parameters.natural import (
    CovarianceParameters,
    covariance_parameters,
)
from mlmfast.display.printed_frame import PrintedFrame
from mlmfast.errors import ModelError
from mlmfast.fitted.estimates import Estimates, estimates_of
from mlmfast.handed_out import copied
from mlmfast.information.information import Information, core_derivatives
from mlmfast.running.memory import check_memory
from mlmfast.words import is_one_of

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

PRIORS = ("jeffreys", "flat")
#: Degrees of freedom of the candidates, how much wider they are than the estimates' errors, and
#: candidates that the chain has gone through before the first draw.
_DF, _WIDER, _BEFORE = 4.0, 1.3, 200
#: Parameters whose likelihood is computed together.
_TOGETHER = 2_000
#: Candidates of which it is made sure that the parameters wanted are those reached.
_CHECKED = 20
_OTHER_PARAMETERS = (
    "the parameters that this covariance moves in are not those that are reported; use bootstrap()"
)
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
    quantiles are what to look at.

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
        For fits by ML or by moments, held, undetermined or boundary parameters, and where
        candidates hardly ever have a likelihood.

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
    about = _information(fit)
    # Candidates, their estimates, covariances and what was drawn of each.
    size = len(about.parameters.names) + len(about.c) ** 2 + 4 * len(about.c)
    check_memory(16.0 * size * int(n), f"a posterior of {int(n):,} draws", "draw fewer")
    candidates = _Candidates(about)
    generator = np.random.default_rng(seed_sequence(seed))
    values, density = candidates.drawn(n + _BEFORE, generator)
    moved, known = candidates.at(values)
    weight = np.full(len(values), -np.inf)
    found = _estimates(about, [moved[k] for k in known])
    own = -0.5 * found.deviance
    if prior == "jeffreys":
        own = own + np.array([_log_jeffreys(about, moved[k]) for k in known])
    weight[known] = np.where(np.isfinite(own), own, -np.inf) - density[known]
    at, acceptance = _chain(weight, generator)
    at = at[_BEFORE:]
    place = np.full(len(values), -1, dtype=np.intp)
    place[known] = np.arange(len(known))
    chosen = place[at]
    root = np.linalg.cholesky(found.vcov[chosen])
    noise = generator.standard_normal((n, root.shape[1]))
    beta = found.beta[chosen] + (root @ noise[:, :, None])[:, :, 0]
    names = [fit._record.x_names[j] for j in fit._record.kept]
    columns = np.concatenate([beta, values[at][:, candidates.order]], axis=1)
    draws = pd.DataFrame(columns, columns=[*names, *about.parameters.names])
    return Posterior(draws, acceptance, prior)


def _information(fit: Fitted) -> Information:
    """Information about parameters all of which are free."""
    fit._needs_likelihood("posterior()")
    source = fit._needs_source("draws from a posterior", of_sums=True)
    record = fit._record
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
    if source.held_values or record.undetermined is not None or fit.singular:
        raise ModelError(
            "draws are about covariance parameters that are free, determined by the data and "
            "inside their bounds, which those of this fit are not all; use bootstrap(), or a "
            "simpler covariance structure"
        )
    assert fit._rows is not None, "it has a source"
    about = fit._rows.information.with_covariances()
    if any(about.parameters.fixed):
        raise ModelError(_OTHER_PARAMETERS)
    return about


class _Candidates:
    """Parameters drawn about the estimates, in the order of the blocks."""

    def __init__(self, about: Information) -> None:
        parameters, self.about = about.parameters, about
        blocks = parameters.blocks
        self.moves = MovedCovariances(about)
        self.values = np.concatenate([block.values for block in blocks])
        self.positive: BoolArray = np.array(
            [kind == "variance" for block in blocks for kind in block.kinds]
        )
        ends = np.cumsum([0, *(len(block.values) for block in blocks)])
        #: Positions of the parameters in the order of the reports.
        self.order = np.concatenate([np.arange(ends[b], ends[b + 1]) for b in parameters.display])
        unit = np.where(self.positive, self.values, 1.0)
        #: Natural parameters by the free ones.
        self.by_free = block_diagonal([block.by_free for block in blocks])
        observed = self.by_free @ about.covariance("observed") @ self.by_free.T
        spread = observed / np.outer(unit, unit)
        self.root = _WIDER * np.linalg.cholesky(spread)

    def drawn(self, n: int, generator: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Values (n, r), and the logarithm of their density up to a constant, (n,)."""
        r = len(self.values)
        normal = generator.standard_normal((n, r))
        t = normal / np.sqrt(generator.chisquare(_DF, n) / _DF)[:, None]
        steps = t @ self.root.T
        with np.errstate(over="ignore"):
            values = self.values * np.exp(np.where(self.positive, steps, 0.0))
        values = np.where(self.positive, values, self.values + steps)
        density = -0.5 * (_DF + r) * np.log1p((t**2).sum(axis=1) / _DF)
        return values, density - steps[:, self.positive].sum(axis=1)

    def at(self, values: FloatArray) -> tuple[dict[int, Moved], list[int]]:
        """The parameters of the core, for those candidates that give a covariance matrix."""
        out: dict[int, Moved] = {}
        for k, own in enumerate(values):
            step = np.linalg.solve(self.by_free, own - self.values)
            found = self.moves.moved(step) if np.isfinite(step).all() else None
            if found is not None and found.share == 1.0 and not found.bounded:
                out[k] = found
        if len(out) < 0.02 * len(values):
            raise ModelError(
                "hardly any candidate about the estimates gives a covariance matrix: the data tell "
                "the parameters too little for this chain; use bootstrap()"
            )
        for k in list(out)[:_CHECKED]:
            reached = np.concatenate([b.values for b in _parameters_at(self.about, out[k]).blocks])
            if not np.allclose(reached, values[k], rtol=1e-6):
                # Steps bend on their way.
                raise ModelError(_OTHER_PARAMETERS)
        return out, list(out)


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


def _log_jeffreys(about: Information, moved: Moved) -> float:
    """Half the logarithm of the determinant of the expected information of the parameters."""
    model, criterion, fit = about.model, about.criterion, about.fit
    theta, parameters = moved.theta[None], _parameters_at(about, moved)
    scale = moved.sigma2 if model.profiled else 1.0
    g = criterion.covariances(theta) if model.profiled else parameters.linear
    core = core_derivatives(model, criterion, g, criterion.entries, fit)
    here = Information(model, criterion, parameters, core, scale, fit, theta)
    expected = here.expected
    if not np.isfinite(expected).all():
        return -np.inf
    sign, logdet = np.linalg.slogdet(expected)
    by_free = np.linalg.slogdet(block_diagonal([block.by_free for block in parameters.blocks]))[1]
    return 0.5 * float(logdet) - float(by_free) if sign > 0 else -np.inf


def _parameters_at(about: Information, moved: Moved) -> CovarianceParameters:
    model, criterion = about.model, about.criterion
    scale = moved.sigma2 if model.profiled else 1.0
    free = (False,) * len(criterion.terms)
    return covariance_parameters(model, criterion, moved.theta[None], free, scale, about.fit)


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
