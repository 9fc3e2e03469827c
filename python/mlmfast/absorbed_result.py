"""A fit with an absorbed factor: the same interface, for all coefficients of the formula."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.degrees_of_freedom import Ddf, ddf_text
from mlmfast.errors import ModelError
from mlmfast.fitted.absorbed.record import AbsorbedRecord
from mlmfast.handed_out import handed_out
from mlmfast.inference.absorbed.coefficient_tests import (
    CoefficientTests,
    coefficient_tests,
    levels_of,
)
from mlmfast.information.undetermined_effects import known_entries
from mlmfast.result import LMMResult

#: Coefficients up to which their covariance matrix is formed.
LARGEST_MATRIX = 5_000


class AbsorbedResult(LMMResult):
    """A fitted linear mixed model with a factor of many levels in its fixed part.

    `params`, `bse`, `df`, `pvalues` and `conf_int` hold all its coefficients; what would need a
    matrix of their order is refused, saying what to ask for instead. Of up to 2,000 levels the
    columns are formed for methods that need them.
    """

    @property
    def _levels(self) -> AbsorbedRecord:
        return levels_of(self)

    def _as_columns(self, what: str) -> LMMResult:
        """The fit with the levels as columns of X, for what needs them."""
        from mlmfast.prepared.as_columns import as_columns

        return self._once("_whole", lambda: as_columns(self, what, LMMResult))

    @handed_out
    def params(self) -> pd.Series[float]:
        """Fixed effects by R's column names; NaN where aliased."""
        return self._series(self._levels.beta)

    def _series(self, kept: FloatArray) -> pd.Series[float]:
        levels = self._levels
        values = np.full(len(levels.x_names), np.nan)
        values[list(levels.kept)] = kept
        return pd.Series(values, index=list(levels.x_names))

    @property
    def _tests(self) -> CoefficientTests:
        return coefficient_tests(self)

    def _basis(self, ddf: Ddf | None = None) -> Any:
        """What tests of the columns beside the factor need."""
        self._tests.check(self.ddf if ddf is None else ddf_text(ddf))
        return super()._basis(ddf)

    @handed_out
    def bse(self) -> pd.Series[float]:
        """Standard errors, those that the tests use."""
        return self._where_told(self._series(np.sqrt(self._tests.variances)))

    def _where_told(self, values: pd.Series[float]) -> pd.Series[float]:
        """Without numbers for the levels where they hang on covariances that are not determined."""
        found, levels = self._record.undetermined, self._levels
        if found is None or not found.errors_depend:
            return values
        own = {self._record.x_names[j] for j in self._record.kept} - set(found.effects)
        return values.where(pd.Series([name in own for name in levels.x_names], values.index))

    @handed_out
    def df(self) -> pd.Series[float]:
        """Denominator degrees of freedom under ``ddf``; infinite for asymptotic (z) tests."""
        return self._where_told(self._series(self._tests.degrees))

    @handed_out
    def tvalues(self) -> pd.Series[float]:
        """Estimates over standard errors."""
        return self.params / self.bse

    @handed_out
    def pvalues(self) -> pd.Series[float]:
        """Two-sided p-values of tvalues by t, normal where the degrees of freedom are infinite."""
        from mlmfast.distributions import two_sided

        kept = list(self._levels.kept)
        t, df = (np.asarray(s, dtype=np.float64)[kept] for s in (self.tvalues, self.df))
        return self._series(two_sided(t, df))

    @property
    def rank(self) -> int:
        """Rank of X."""
        return len(self._levels.kept)

    @property
    def aliased(self) -> tuple[str, ...]:
        """Columns of X left out because they depend linearly on others."""
        kept = set(self._levels.kept)
        return tuple(name for j, name in enumerate(self._levels.x_names) if j not in kept)

    def cov_params(self, kind: str | None = None, *, cluster: object = None) -> pd.DataFrame:
        """Covariance of the fixed effects; of at most 5,000 of them.

        Raises
        ------
        ModelError
            For more, or for a cluster-robust covariance.
        """
        names = self._levels.x_names
        if len(names) > LARGEST_MATRIX:
            raise ModelError(
                f"cov_params() of {len(names):,} coefficients would take "
                f"{8e-9 * len(names) ** 2:,.1f} GB; bse has the standard errors of all, "
                "estimate() and contrast() those of any functions you name, with their covariance "
                "in between"
            )
        if cluster is not None or (kind is not None and str(kind).startswith("CR")):
            return self._as_columns("a cluster-robust covariance").cov_params(kind, cluster=cluster)
        ddf = "asymptotic" if kind in {None, "model"} else str(kind)
        kept = list(self._levels.kept)
        rows = np.eye(len(names))[kept]
        matrix = known_entries(self._tests.moves(rows), self._tests.matrix(rows, ddf).adjusted)
        found = [names[j] for j in kept]
        frame = pd.DataFrame(matrix, index=found, columns=found)
        return frame.reindex(index=self.params.index, columns=self.params.index)

    def contrast(
        self, L: object, rhs: object = 0.0, ddf: Ddf | None = None, level: float = 0.95
    ) -> Any:
        """Test linear functions of the fixed effects; see `LMMResult.contrast`."""
        from mlmfast.inference.absorbed.contrasts import contrast

        return contrast(self, L, rhs, ddf, level, joint=True)

    def estimate(
        self,
        L: object,
        rhs: object = 0.0,
        ddf: Ddf | None = None,
        level: float = 0.95,
        *,
        random: Mapping[str, Any] | None = None,
    ) -> Any:
        """Estimate linear functions one by one; see `LMMResult.estimate`."""
        from mlmfast.inference.absorbed.contrasts import contrast

        if random is not None:
            whole = self._as_columns("estimate(random=)")
            return whole.estimate(L, rhs, ddf, level, random=random)
        return contrast(self, L, rhs, ddf, level, joint=False)

    def anova(self, *fits: Any, type: int | str = 3, ddf: Any = None, **more: Any) -> Any:
        """F tests of the terms (types II and III), or likelihood-ratio tests against other fits."""
        if fits and isinstance(fits[0], LMMResult):
            return super().anova(*fits, type=type, ddf=ddf, **more)
        from mlmfast.inference.absorbed.terms import anova

        return anova(self, fits[0] if fits else type, ddf, **more)

    def predict(self, newdata: object = None, **how: Any) -> Any:
        """Predictions; see `LMMResult.predict`."""
        if how.get("conditional"):
            return self._as_columns("predict(conditional=True)").predict(newdata, **how)
        return super().predict(newdata, **how)

    def resid(self, kind: str = "raw") -> pd.Series[float]:
        """Residuals: "raw", "pearson" or "marginal"; see `LMMResult.resid`."""
        if kind not in {"raw", "conditional", "pearson", "marginal"}:
            return self._as_columns(f"resid({kind!r})").resid(kind)
        return super().resid(kind)

    def remove_data(self) -> None:
        """See `LMMResult.remove_data`; the columns, which a saved fit is made of, stand for it."""
        loaded = self._as_columns("remove_data()")
        loaded.remove_data()
        self.__class__ = LMMResult  # type: ignore[assignment]
        self.__dict__.clear()
        self.__dict__.update(loaded.__dict__)


def _by_columns(name: str) -> Any:
    """A method that the fit with all columns serves."""

    def method(self: AbsorbedResult, *args: Any, **kwargs: Any) -> Any:
        return getattr(self._as_columns(f"{name}()"), name)(*args, **kwargs)

    method.__name__ = name
    method.__doc__ = f"See `LMMResult.{name}`; by the levels' columns, where these are few enough."
    return method


_WITH_COLUMNS = (
    "robust",
    "influence",
    "bootstrap",
    "emmeans",
    "test_variance",
    "ranova",
    "caic",
    "icc",
    "r2",
    "derived",
    "V",
    "X",
    "marginal",
    "simulate",
    "to_json",
)
for _name in _WITH_COLUMNS:
    setattr(AbsorbedResult, _name, _by_columns(_name))
