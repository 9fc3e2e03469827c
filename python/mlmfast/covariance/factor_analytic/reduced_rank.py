"""Reduced rank covariance: a few common factors and nothing besides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from mlmfast.covariance.factor_analytic.loadings import LoadingsAlone


@dataclass(frozen=True)
class ReducedRank(LoadingsAlone):
    """G = Lambda Lambda', Lambda K x k with zeros above the diagonal: of rank k by design.

    theta is Lambda by rows, the natural parameters too; the signs of its columns are arbitrary.
    With k = K it is unstructured. glmmTMB's `rr`, PROC MIXED's FA0(q) of fewer factors than levels.

    References: Hui et al. (2015), Methods in Ecology and Evolution 6, 399-411; SAS/STAT User's
    Guide, The MIXED Procedure, TYPE=FA0(q).

    Parameters
    ----------
    order
        Number k of factors.

    Examples
    --------
    >>> import numpy as np
    >>> rr = ReducedRank(3, order=1)
    >>> rr.matrix(np.array([[1.0, 2.0, 3.0]]))[0].tolist()
    [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [3.0, 6.0, 9.0]]
    """

    order: int = 2

    keyword: ClassVar[str] = "rr"
    space: ClassVar[str] = "rr"
    label: ClassVar[str] = "reduced rank"
    formula: ClassVar[str] = "sum_k lambda_ik lambda_jk"
    parameters: ClassVar[str] = "k (2 K - k + 1) / 2: loadings"
    use: ClassVar[str] = "random effects of many levels by few latent variables"
    glmmtmb: ClassVar[str | None] = "rr"
    compared: ClassVar[Literal["always", "several columns", "never"]] = "never"
    for_residuals: ClassVar[bool] = False
    option_names: ClassVar[tuple[str, ...]] = ("order", "k", "q", "d")
    contained_in: ClassVar[tuple[str, ...]] = ("us", "fa")
    minimum_size: ClassVar[int] = 2

    @property
    def n_factors(self) -> int:
        return self.order
