"""Estimated marginal means of a fit by a formula of patsy's."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np

from mlmfast.data.factor import level_labels
from mlmfast.data.frame import Frame
from mlmfast.errors import DataError, ModelError
from mlmfast.formula.functions import variables_of
from mlmfast.inference.emmeans.means import EMMeans, means_over
from mlmfast.inference.emmeans.reference_grid import GridVariable, ReferenceGrid, unknown_name
from mlmfast.statsmodels.results.arrays import ResultArrays

#: Points of a grid.
_MOST_POINTS = 1_000_000


def emmeans(
    self: ResultArrays,
    specs: Any,
    by: Any = None,
    at: Mapping[str, Any] | None = None,
    *,
    ddf: Any = None,
    level: float = 0.95,
    adjust: str = "none",
) -> EMMeans:
    """Estimated marginal means over the levels of the formula's factors, equally weighted.

    Parameters
    ----------
    specs, by, at, level, adjust
        As of `mlmfast.LMMResult.emmeans`; covariates stand at their mean over the rows used.
    ddf
        Degrees of freedom, "satterthwaite" or "kenward-roger", say; z by default, as other tests
        here.

    Returns
    -------
    EMMeans
        Prints as a table; ``.frame``, ``.contrast("pairwise")``.

    Raises
    ------
    ModelError
        For a model from arrays, or one fitted with covariances held.
    DataError
        For an unknown name or level.

    Examples
    --------
    >>> import mlmfast as mlm, mlmfast.statsmodels as smf
    >>> data = mlm.load_sleepstudy()
    >>> data["week"] = ["1" if day < 7 else "2" for day in data.Days]
    >>> fit = smf.mixedlm("Reaction ~ C(week)", data, groups="Subject").fit()
    >>> fit.emmeans("week").frame.round(3)
      week   emmean     SE   df    lower    upper
    0    1  282.693  9.222  inf  264.618  300.767
    1    2  335.410  9.950  inf  315.910  354.911
    """
    return means_over(
        self.lmm, _grid(self, dict(at or {})), specs, by, ddf=ddf, level=level, adjust=adjust
    )


def _grid(results: ResultArrays, at: dict[str, Any]) -> ReferenceGrid:
    source = results.model._source
    if source is None or results.model.data.frame is None:
        raise ModelError(
            "marginal means need a model made by a formula, and its data frame; lmm.contrast(L) "
            "takes rows of your own"
        )
    frame = Frame.from_native(results.model.data.frame)
    for name in at:
        if name not in source.used:
            raise unknown_name(name, source.used, "a variable of the fixed part")
    variables = tuple(_variable(results, frame, name, at.get(name)) for name in source.used)
    sizes = tuple(variable.size for variable in variables)
    if np.prod(sizes, dtype=float) > _MOST_POINTS:
        raise ModelError(f"the grid has {np.prod(sizes):,} points; keep fewer levels by at=")
    rows = list(product(*[variable.values for variable in variables]))
    columns = {
        variable.name: np.array([row[k] for row in rows])
        for k, variable in enumerate(variables)
    } or {"(none)": np.zeros(1)}  # fmt: skip
    names, built = source.fixed.build(Frame.from_native(columns))
    matrix = np.column_stack([built[names.index(name)] for name in source.names])
    free = results._found.fe_free
    offset = matrix[:, ~free] @ np.asarray(results.fe_params)[~free]
    return ReferenceGrid(variables, matrix[:, free].reshape(*sizes, -1), offset.reshape(sizes))


def _variable(results: ResultArrays, frame: Frame, name: str, given: Any) -> GridVariable:
    """A factor with its levels, or a covariate with its values."""
    codings = results.model._source.fixed.codings
    coded = [own for text, own in codings.items() if own and name in variables_of(text)]
    if not coded:
        return _covariate(results, frame, name, given)
    factor = frame.factor(name)
    position = {label: k for k, label in enumerate(factor.levels)}
    labels = [label for label in coded[0].levels if label in position]
    if given is not None:
        chosen = level_labels(np.atleast_1d(np.asarray(given)))
        for label in chosen:
            if label not in labels:
                raise unknown_name(label, labels, f"a level of {name!r}")
        labels = list(chosen)
    values = tuple(factor.values[position[label]] for label in labels)
    return GridVariable(name, True, tuple(labels), values)


def _covariate(results: ResultArrays, frame: Frame, name: str, given: Any) -> GridVariable:
    if given is None:
        values = np.array([_mean(results, frame, name)])
    else:
        values = np.atleast_1d(np.asarray(given, dtype=np.float64))
    labels = level_labels(values)
    return GridVariable(name, False, labels, tuple(values.tolist()), is_averaged=given is None)


def _mean(results: ResultArrays, frame: Frame, name: str) -> float:
    """Over the rows used."""
    values = frame.numeric(name)
    left_out = results.model.data.missing_row_idx or []
    if len(values) - len(left_out) != results.nobs:
        raise DataError(f"the model is of a subset of the data; give the value of {name!r} by at=")
    return float(np.delete(values, left_out).mean())
