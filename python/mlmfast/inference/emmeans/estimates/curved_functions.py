"""Linear functions of the fixed effects and the effects of curves, of a model with smooth terms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.degrees_of_freedom import method_of
from mlmfast.degrees_of_freedom.satterthwaite import fai_cornelius
from mlmfast.distributions import chi2_tail, f_tail, two_sided
from mlmfast.errors import ModelError
from mlmfast.inference.contrasts.estimability import aliasing_of_fit
from mlmfast.inference.contrasts.linear_tests import FTest, RowTests
from mlmfast.inference.emmeans.estimates.linear_functions import LinearFunctions
from mlmfast.prediction.spread import spread_of
from mlmfast.prediction.targets import EffectTargets
from mlmfast.smooths.joint import JointEffects, joint_effects

_DEPENDENT = 1e-8


@dataclass(frozen=True)
class CurvedFunctions(LinearFunctions):
    """Linear functions L (beta, b) + offset, b the effects of the curves, in the formula's order.

    Their covariance is that of the errors of prediction (mgcv's Bayesian one where curves are all
    that is random), their degrees of freedom those of intervals around `predict`. Other random
    effects are 0, as in the population.
    """

    @property
    def _joint(self) -> JointEffects:
        return joint_effects(self.fit)

    @property
    def _n_fixed(self) -> int:
        return len(self.fit._record.x_names)

    @property
    def is_estimable(self) -> BoolArray:
        """Whether the data determine each row, shape (n,)."""
        defined = np.isfinite(self.L).all(axis=1) & np.isfinite(self.offset)
        fixed = np.where(np.isfinite(self.L), self.L, 0.0)[:, : self._n_fixed]
        return defined & aliasing_of_fit(self.fit).estimable(fixed)

    def tests(self, rows: IntArray) -> RowTests:
        """Estimates of some rows, all of them estimable, with standard errors and df."""
        L = self.L[rows]
        estimate = self._kept(L) @ self._joint.estimate + self.offset[rows]
        se, df = self._spread(L)
        with np.errstate(divide="ignore", invalid="ignore"):
            statistic = estimate / se
        p = two_sided(statistic, df)
        return RowTests(estimate, se, df, statistic, p, np.zeros(len(rows)))

    def _kept(self, L: FloatArray) -> FloatArray:
        """Over the coefficients kept and the effects of curves, as `JointEffects` has them."""
        p = self._n_fixed
        return np.concatenate([L[:, list(self.fit._record.kept)], L[:, p:]], axis=1)

    def _spread(self, L: FloatArray) -> tuple[FloatArray, FloatArray]:
        record, p = self.fit._record, self._n_fixed
        ddf = self.fit.ddf if self.ddf is None else self.ddf
        if method_of(ddf).adjusts:
            raise ModelError(
                f"ddf={ddf!r} adjusts the covariance of the fixed effects, and means over curves "
                "are made of predicted effects too; use ddf='satterthwaite'"
            )
        weights, first = [], p
        for t, term in enumerate(record.terms):
            levels = len(record.groups[term.group].labels)
            own = np.zeros((len(L), levels, len(term.names)))
            if t in record.smooth_terms:
                own[:, 0] = L[:, first : first + len(term.names)]
                first += len(term.names)
            weights.append(own)
        related = (None,) * len(weights)
        targets = EffectTargets(L[:, list(record.kept)], tuple(weights), related)
        found = spread_of(self.fit, targets, True, ddf=ddf)
        return found.se, found.df

    def covariance(self, rows: IntArray) -> FloatArray:
        """Covariance of the estimates of some rows."""
        kept = self._kept(self.L[rows])
        return np.asarray(kept @ self._joint.covariance @ kept.T)

    def joint(self, rows: IntArray) -> FTest | None:
        """Wald's F of some rows, degrees of freedom by Fai and Cornelius; None where nothing is."""
        rows = rows[self.is_estimable[rows]]
        if not len(rows):
            return None
        values, vectors = np.linalg.eigh(self.covariance(rows))
        kept = values > _DEPENDENT * max(float(values[-1]), 0.0)
        r = int(kept.sum())
        if r == 0:
            return None
        turned = vectors[:, kept].T
        estimate = self._kept(self.L[rows]) @ self._joint.estimate + self.offset[rows]
        chi2 = float(((turned @ estimate) ** 2 / values[kept]).sum())
        df = fai_cornelius(self._spread(turned @ self.L[rows])[1])
        tail = float(chi2_tail(chi2, r))
        return FTest(chi2 / r, r, df, tail if np.isinf(df) else float(f_tail(chi2 / r, r, df)),
                     chi2, tail)  # fmt: skip

    def rank(self, rows: IntArray) -> int:
        """Rank of the covariance of some rows."""
        values = np.linalg.eigvalsh(self.covariance(rows))
        return int((values > _DEPENDENT * max(float(values[-1]), 0.0)).sum())

    def coefficients(self) -> pd.DataFrame:
        """Coefficients of the rows, a column a fixed effect or an effect of a curve."""
        record = self.fit._record
        curves = [name for t in record.smooth_terms for name in record.terms[t].names]
        return pd.DataFrame(self.L.copy(), columns=[*record.x_names, *curves])
