"""Calls of a fit whose type depends on their arguments, as editors and type checkers read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

from mlmfast.degrees_of_freedom import Ddf
from mlmfast.fitted.fitted import Fitted

if TYPE_CHECKING:
    import pandas as pd

    from mlmfast.inference.anova.anova import AnovaTable
    from mlmfast.inference.comparison.compare import Comparison

    Interval = Literal["confidence", "prediction"]


class TypedCalls(Fitted):
    """Signatures alone: `mlmfast.result.LMMResult` has the functions.

    Predictions stand in the container of the user's frame, which is known where that is pandas'.
    """

    if TYPE_CHECKING:

        @overload
        def anova(
            self,
            *,
            type: int | str = 3,
            ddf: Ddf | None = None,
            definition: str | None = None,
            chisq: bool = False,
        ) -> AnovaTable: ...
        @overload
        def anova(
            self,
            type: int | str,
            /,
            *,
            ddf: Ddf | None = None,
            definition: str | None = None,
            chisq: bool = False,
        ) -> AnovaTable: ...
        @overload
        def anova(
            self,
            fit: Fitted,
            /,
            *fits: Fitted,
            refit: bool = False,
            names: Sequence[str] | None = None,
        ) -> Comparison: ...
        def anova(self, *fits: Any, **how: Any) -> Any:
            """Tests of terms, or of fits: see `mlmfast.inference.anova.anova.anova`."""

        @overload
        def predict(
            self,
            newdata: pd.DataFrame,
            *,
            interval: None = None,
            ranef: bool = True,
            new_levels: str = "error",
            level: float = 0.95,
            offset: object = None,
            conditional: bool = False,
            weights: object = None,
            ddf: Ddf | None = None,
            nonestimable: str = "nan",
        ) -> pd.Series[float]: ...
        @overload
        def predict(
            self,
            newdata: pd.DataFrame,
            *,
            interval: Interval,
            ranef: bool = True,
            new_levels: str = "error",
            level: float = 0.95,
            offset: object = None,
            conditional: bool = False,
            weights: object = None,
            ddf: Ddf | None = None,
            nonestimable: str = "nan",
        ) -> pd.DataFrame: ...
        @overload
        def predict(
            self,
            newdata: Any = None,
            *,
            interval: None = None,
            ranef: bool = True,
            new_levels: str = "error",
            level: float = 0.95,
            offset: object = None,
            conditional: bool = False,
            weights: object = None,
            ddf: Ddf | None = None,
            nonestimable: str = "nan",
        ) -> pd.Series[float] | Any: ...
        @overload
        def predict(
            self,
            newdata: Any = None,
            *,
            interval: Interval,
            ranef: bool = True,
            new_levels: str = "error",
            level: float = 0.95,
            offset: object = None,
            conditional: bool = False,
            weights: object = None,
            ddf: Ddf | None = None,
            nonestimable: str = "nan",
        ) -> pd.DataFrame | Any: ...
        def predict(self, newdata: Any = None, **how: Any) -> Any:
            """Predictions: see `mlmfast.prediction.prediction.predict`."""
