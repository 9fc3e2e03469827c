"""What a model keeps of its input: names, row labels, and the containers results come back in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.running.cached import cached_property


@dataclass(eq=False)
class ModelData:
    """Names and labels by which results of a model are given back.

    Attributes
    ----------
    is_pandas
        Whether results are Series and DataFrames: the input was pandas, or a formula was given.
    xnames, ynames
        Names of the fixed effects and of the response.
    exog_re_names, exog_re_names_full
        Names of the random effects, and of the entries of their covariance.
    param_names
        Names of all parameters.
    row_labels
        Labels of the rows used, None without pandas.
    """

    endog: Any
    exog: Any
    is_pandas: bool
    xnames: list[str]
    ynames: str
    row_labels: pd.Index | None
    orig_endog: Any = None
    orig_exog: Any = None
    exog_re: Any = None
    frame: Any = None
    formula: str | None = None
    exog_re_names: list[str] = field(default_factory=list)
    exog_re_names_full: list[str] = field(default_factory=list)
    vcomp_names: list[str] = field(default_factory=list)
    param_names: list[str] = field(default_factory=list)
    missing_row_idx: Any = None

    @property
    def cov_names(self) -> list[str]:
        """Names of the rows of `cov_params`."""
        return self.param_names

    @cached_property
    def _param_index(self) -> pd.Index:
        return pd.Index(self.param_names)

    @property
    def k_constant(self) -> int:
        """Whether a column of the fixed part is constant."""
        return int(self.const_idx is not None)

    @property
    def const_idx(self) -> int | None:
        """Position of the first constant column that is not 0."""
        return constant_column(self.exog)

    def wrap_output(self, obj: Any, how: str = "columns", names: str | None = None) -> Any:
        """Give an array its labels, as statsmodels' wrapper asks for them."""
        if not self.is_pandas or obj is None:
            return obj
        if how == "columns":
            kind = pd.Series if np.ndim(obj) <= 1 else pd.DataFrame
            return kind(obj, index=self._param_index)
        if how == "rows":
            return pd.Series(np.asarray(obj), index=self.row_labels)
        if how == "cov":
            return pd.DataFrame(obj, index=self._param_index, columns=self._param_index)
        if how == "generic_columns":
            labels = list(getattr(self, str(names)))
            # `bse_re` has the variance components too.
            labels += [f"{name} Var" for name in self.vcomp_names[: len(obj) - len(labels)]]
            return pd.Series(obj, index=labels)
        if how == "generic_columns_2d":
            labels = getattr(self, str(names))
            return pd.DataFrame(obj, index=labels, columns=labels)
        return obj


def constant_column(exog: Any) -> int | None:
    """Position of the first column that is constant and not 0.

    Examples
    --------
    >>> constant_column(np.array([[0.0, 2.0], [1.0, 2.0]]))
    1
    """
    if exog is None:
        return None
    for j in range(exog.shape[1]):
        column = exog[:, j]
        if column[0] != 0.0 and column[0] == column[-1] and (column == column[0]).all():
            return j
    return None


def array_names(exog: FloatArray) -> list[str]:
    """Names of the columns of an array: ``const`` for a constant one, ``x1``, ... for others.

    Examples
    --------
    >>> array_names(np.array([[1.0, 0.0], [1.0, 2.0]]))
    ['const', 'x1']
    """
    at = constant_column(exog)
    names = [f"x{j + 1}" for j in range(exog.shape[1] - (at is not None))]
    if at is not None:
        names.insert(at, "const")
    return names
