"""A fit with an absorbed factor: the same interface, for all coefficients of the formula."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.absorbed.record import AbsorbedRecord
from mlmfast.absorbed.coefficient_tests import CoefficientTests
from mlmfast.arrays import FloatArray
from mlmfast.errors import ModelError
from mlmfast.result import FitSource, LMMResult

#: Coefficients up to which their covariance matrix is formed.
LARGEST_MATRIX = 5_000


class AbsorbedResult(LMMResult):
    """A fitted linear mixed model with a factor of many levels in its fixed part.

    `params`, `bse`, `df`, `pvalues` and `conf_int` hold all its coefficients; what would need a
    matrix of their order is refused, saying what to ask for instead.
    """

    @property
    def _levels(self) -> AbsorbedRecord:
        found = self._record.absorbed
        assert found is not None, "made for such fits"
        return found

    @cached_property
    def params(self) -> pd.Series[float]:
        """Fixed effects by R's column names; NaN where aliased."""
        return self._series(self._levels.beta)

    def _series(self, kept: FloatArray) -> pd.Series[float]:
        levels = self._levels
        values = np.full(len(levels.x_names), np.nan)
        values[list(levels.kept)] = kept
        return pd.Series(values, index=list(levels.x_names))

    @cached_property
    def _tests(self) -> CoefficientTests:
        rows = self._rows
        assert rows is not None, "such fits are not stored"
        return CoefficientTests(rows, self._record, self.ddf)

    def _basis(self, ddf: str | float | None = None) -> Any:
        """What tests of the columns beside the factor need."""
        self._tests.check(self.ddf if ddf is None else str(ddf))
        return super()._basis(ddf)

    @cached_property
    def bse(self) -> pd.Series[float]:
        """Standard errors, those that the tests use."""
        return self._series(np.sqrt(self._tests.variances))

    @cached_property
    def df(self) -> pd.Series[float]:
        """Denominator degrees of freedom under ``ddf``; infinite for asymptotic (z) tests."""
        return self._series(self._tests.degrees)

    @cached_property
    def pvalues(self) -> pd.Series[float]:
        """Two-sided p-values of tvalues by t, normal where the degrees of freedom are infinite."""
        from mlmfast.contrast import two_sided

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
            raise _refusal("a cluster-robust covariance", self._levels)
        ddf = "asymptotic" if kind in {None, "model"} else str(kind)
        kept = list(self._levels.kept)
        matrix = self._tests.matrix(np.eye(len(names))[kept], ddf).adjusted
        found = [names[j] for j in kept]
        frame = pd.DataFrame(matrix, index=found, columns=found)
        return frame.reindex(index=self.params.index, columns=self.params.index)

    def contrast(
        self, L: object, rhs: object = 0.0, ddf: str | float | None = None, level: float = 0.95
    ) -> Any:
        """Test linear functions of the fixed effects; see `LMMResult.contrast`."""
        from mlmfast.absorbed.contrasts import contrast

        return contrast(self, L, rhs, ddf, level, joint=True)

    def estimate(
        self,
        L: object,
        rhs: object = 0.0,
        ddf: str | float | None = None,
        level: float = 0.95,
        *,
        random: Mapping[str, Any] | None = None,
    ) -> Any:
        """Estimate linear functions one by one; see `LMMResult.estimate`."""
        from mlmfast.absorbed.contrasts import contrast

        if random is not None:
            raise _refusal("estimate(random=)", self._levels)
        return contrast(self, L, rhs, ddf, level, joint=False)

    def anova(self, *fits: Any, type: int | str = 3, ddf: Any = None, **more: Any) -> Any:
        """F tests of the terms (types II and III), or likelihood-ratio tests against other fits."""
        if fits and isinstance(fits[0], LMMResult):
            return super().anova(*fits, type=type, ddf=ddf, **more)
        from mlmfast.absorbed.terms import anova

        return anova(self, fits[0] if fits else type, ddf, **more)

    def predict(self, newdata: object = None, **how: Any) -> Any:
        """Predictions; see `LMMResult.predict`."""
        if how.get("conditional"):
            raise _refusal("predict(conditional=True)", self._levels)
        return super().predict(newdata, **how)

    def resid(self, kind: str = "raw") -> pd.Series[float]:
        """Residuals: "raw", "pearson" or "marginal"; see `LMMResult.resid`."""
        if kind not in {"raw", "conditional", "pearson", "marginal"}:
            raise _refusal(f"resid({kind!r})", self._levels)
        return super().resid(kind)

    def __reduce__(self) -> tuple[Any, ...]:
        """Refuse to be pickled."""
        raise _refusal("a saved or pickled fit", self._levels)


def result_of(record: Any, source: FitSource, timings: Mapping[str, float]) -> LMMResult:
    """The result of a fit, by whether a factor is absorbed."""
    kind = LMMResult if record.absorbed is None else AbsorbedResult
    return kind(record, source, timings)


def _refusal(what: str, levels: AbsorbedRecord) -> ModelError:
    n = len(levels.labels)
    return ModelError(
        f"{what} is not offered where a fixed factor is eliminated ({levels.name!r} with {n:,} "
        "levels); with absorb=False its levels are columns of X, which serves some thousand of them"
    )


def _refused(name: str, is_property: bool = False) -> Any:
    def refuse(self: AbsorbedResult, *args: Any, **kwargs: Any) -> Any:
        raise _refusal(name if is_property else f"{name}()", self._levels)

    function: Callable[..., Any] = refuse
    function.__name__ = name
    function.__doc__ = "Not offered where a fixed factor is eliminated."
    return property(function) if is_property else function


for _name in (
    "robust influence bootstrap emmeans test_variance ranova caic icc r2 derived V X marginal "
    "simulate to_json"
).split():
    setattr(AbsorbedResult, _name, _refused(_name))
