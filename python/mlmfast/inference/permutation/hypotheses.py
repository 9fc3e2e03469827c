"""What a permutation test tests: linear functions of the fixed effects, or random effects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.design.columns.model_matrix import INTERCEPT
from mlmfast.design.design import Design
from mlmfast.errors import ModelError
from mlmfast.fitted.estimates import Estimates, estimates_of
from mlmfast.fitted.fitted import Fitted
from mlmfast.fitting.fit import fit_covariance
from mlmfast.inference.anova.anova import anova
from mlmfast.inference.comparison.null_model import find_effects, without_effects
from mlmfast.inference.contrasts.estimability import aliasing_of_design, check_estimable
from mlmfast.inference.contrasts.rows import contrast_rows
from mlmfast.newton import NewtonOptions
from mlmfast.reduction.reduce import reduce_design
from mlmfast.words import did_you_mean

#: Eigenvalue of a correlation matrix below which it is singular.
_SINGULAR = 1e-12


@dataclass(frozen=True)
class Hypothesis:
    """A null hypothesis about a fit.

    Attributes
    ----------
    text
        What is tested.
    design, null
        The design, and that under the hypothesis.
    L : shape (m, p), over the columns of X; None for random effects.
    method
        "REML" or "ML".
    ratio
        Whether the statistic is the likelihood ratio and not t or F.
    kept
        Columns of X that are estimated.
    sided
        "two-sided", "greater" or "less", for one function.
    """

    text: str
    design: Design
    null: Design
    L: FloatArray | None
    method: str
    ratio: bool
    kept: tuple[int, ...]
    sided: str = "two-sided"

    @property
    def label(self) -> str:
        """The statistic by name."""
        if self.L is None:
            return "restricted likelihood ratio" if self.method == "REML" else "likelihood ratio"
        if self.ratio:
            return "likelihood ratio"
        if len(self.L) > 1:
            return "F"
        return "|t|" if self.sided == "two-sided" else "t"

    def statistics(self, responses: FloatArray, design: Design | None = None) -> FloatArray:
        """Of responses without offset (b, n); ``design`` has another X.

        NaN where a fit failed, and for t and F where the columns of X do not tell what is tested
        from the rest: whichever of them were left out, the coefficients kept are of another kind.
        """
        own = self.design if design is None else design
        if not self.ratio:
            found, good, kept = _fitted(own, responses, self.method)
            assert self.L is not None, "random effects are tested by the likelihood ratio"
            if not aliasing_of_design(own, kept).estimable(self.L).all():
                return np.full(len(responses), np.nan)
            values = _wald(found, self.L[:, kept])
        else:
            # Fixed effects that differ have no likelihood in common but ML's.
            method = self.method if self.L is None else "ML"
            found, good, _ = _fitted(own, responses, method)
            null = self.null
            if design is not None and self.L is not None:
                null = _under(design, self.L, self.kept)
            small, sound, _ = _fitted(null, responses, method)
            good = good & sound
            values = np.maximum(small.deviance - found.deviance, 0.0)
        if self.sided == "less":
            values = -values
        elif self.sided == "two-sided":
            values = np.abs(values)
        return np.where(good, values, np.nan)


def _fitted(design: Design, responses: FloatArray, method: str) -> tuple[Estimates, Any, Any]:
    """Estimates, where they are sound, and the columns of X that they are of."""
    model = reduce_design(design, responses)
    covariance = fit_covariance(model, method, NewtonOptions())
    estimates = estimates_of(model, covariance.criterion, covariance.theta)
    good = covariance.newton.converged & np.isfinite(estimates.deviance)
    return estimates, good, model.kept


def _wald(found: Estimates, L: FloatArray) -> FloatArray:
    """t of one function, F of several; NaN where their covariance is singular."""
    values = found.beta @ L.T
    covariance = L @ found.vcov @ L.T
    variances = np.diagonal(covariance, axis1=1, axis2=2)
    out = np.full(len(values), np.nan)
    good = np.flatnonzero(
        np.isfinite(values).all(axis=1)
        & np.isfinite(covariance).all(axis=(1, 2))
        & (variances > 0.0).all(axis=1)
    )
    sd = np.sqrt(variances[good])
    t = values[good] / sd
    if len(L) == 1:
        out[good] = t[:, 0]
        return out
    correlation = covariance[good] / (sd[:, :, None] * sd[:, None, :])
    told = np.linalg.eigvalsh(correlation)[:, 0] > _SINGULAR
    t, correlation = t[told], correlation[told]
    solved = np.linalg.solve(correlation, t[:, :, None])[:, :, 0]
    out[good[told]] = (t * solved).sum(axis=1) / len(L)
    return out


def read_hypothesis(fit: Fitted, test: Any, statistic: str, sided: str) -> Hypothesis:
    """What a user asks to be tested; `permutation_test` documents the arguments.

    Raises
    ------
    ModelError
        For what is not in the model; the nearest name is suggested.
    """
    source, record = fit._needs_source("a permutation test"), fit._record
    design = source.design
    if source.held_values or source.asked is not None:
        raise ModelError("the fit holds or bounds covariance parameters; test in a free fit")
    if design.absorbed is not None:
        raise ModelError("permutation tests need the columns of X; fit with absorb=False")
    if statistic not in ("wald", "lr"):
        raise ModelError(f"statistic is {statistic!r}; use 'wald' (t or F) or 'lr'")
    if sided not in ("two-sided", "greater", "less"):
        raise ModelError(f"alternative is {sided!r}; use 'two-sided', 'greater' or 'less'")
    if isinstance(test, str) and "|" in test:
        if sided != "two-sided":
            raise ModelError(
                f"alternative={sided!r} is for one coefficient; a variance has no sign"
            )
        t, effects = find_effects(design, test)
        null = without_effects(design, t, effects)
        return Hypothesis(test, design, null, None, record.method, True, record.kept, "greater")
    L, text = _linear(fit, test)
    if len(record.kept) < len(record.x_names) and L[:, _aliased(fit)].any():
        raise ModelError(f"test: {text} is about coefficients that are aliased")
    check_estimable(fit, L)
    L = _independent(L)
    if sided != "two-sided" and (len(L) > 1 or statistic == "lr"):
        raise ModelError(f"alternative={sided!r} goes with the t test of one coefficient")
    null = _under(design, L, record.kept)
    return Hypothesis(text, design, null, L, record.method, statistic == "lr", record.kept, sided)


def _independent(L: FloatArray) -> FloatArray:
    """As many functions as L has rank, which are 0 where those of L are."""
    _, sizes, v = np.linalg.svd(L)
    m = int((sizes > 1e-10 * sizes[0]).sum())
    return L if m in (0, len(L)) else np.asarray(v[:m])


def _aliased(fit: Fitted) -> list[int]:
    record = fit._record
    return [j for j in range(len(record.x_names)) if j not in record.kept]


def _linear(fit: Fitted, test: Any) -> tuple[FloatArray, str]:
    """Rows over all columns of X."""
    source, names = fit._needs_source("a permutation test"), fit._record.x_names
    terms = () if source.frame is None else source.frame.terms
    if isinstance(test, str) and test not in names:
        if test in terms and test != INTERCEPT:
            return _of_term(fit, test), test
        if not any(sign in test for sign in "=+*/") and " - " not in test:
            known = [*names, *(t for t in terms if t not in names)]
            hint = did_you_mean(test, known)
            raise ModelError(
                f"test: {test!r} is no coefficient or term of the model{hint} (there are "
                f"{', '.join(known[:30])}); random effects are written '(1 | g)' or 'sd_x|g'"
            )
    if isinstance(test, str) and test in names:
        return np.eye(len(names))[[names.index(test)]], test
    rows = contrast_rows(names, test)
    if np.asarray(rows.rhs).any():
        raise ModelError(
            "test: permutations hold under a hypothesis of 0; subtract the value by an offset"
        )
    return rows.L, ", ".join(rows.names)


def _of_term(fit: Fitted, term: str) -> FloatArray:
    """The type III hypothesis of a term."""
    found = anova(fit, type=3, ddf="asymptotic").hypotheses
    if term not in found:
        raise ModelError(f"test: the term {term!r} is not estimable in this design")
    L = found[term].to_numpy(dtype=np.float64)
    return np.where(np.abs(L) > 1e-9 * np.abs(L).max(), L, 0.0)


def _under(design: Design, L: FloatArray, kept: tuple[int, ...]) -> Design:
    """The design in which the rows of L are 0: columns of X in their null space."""
    own = [j for j in kept if L[:, j].any()]
    _, sizes, v = np.linalg.svd(L[:, list(kept)])
    m = int((sizes > 1e-10 * sizes[0]).sum())
    if len(own) == m:
        left = [j for j in kept if j not in own]
        x = tuple(design.x[j] for j in left)
    else:
        basis = design.fixed_matrix[:, list(kept)] @ v[m:].T
        x = tuple(np.ascontiguousarray(column) for column in basis.T)
    return replace(design, x=x, x_names=tuple(f"null {k}" for k in range(len(x))))
