"""Residual covariance at any times or points, where it is a function of their distances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.data.frame import Frame
from mlmfast.design.residual.instance import instance
from mlmfast.design.residual.record import ResidualRecord
from mlmfast.design.residual.series import is_series
from mlmfast.errors import DataError, ModelError
from mlmfast.formula.residual_formula import ResidualFormula, parse_residual, structure_kind
from mlmfast.reduction.residual.series import correlations_at

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

#: Positions that every structure along series has room for.
_FEW = 3
#: Part of a step by which a point may miss its place.
_MISPLACED = 1e-4


def residual_cov_at(fit: Fitted, points: Any) -> pd.DataFrame | dict[str, pd.DataFrame]:
    """Residual covariance of one subject at any times or points, at weight 1.

    For structures whose covariance is a function of distances: spatial ones (``sp_exp``,
    ``car1``, ...) at any points, met by the fit or not, and ``ar1`` and ``arma11`` at whole
    steps of numbers, or at visits of the fit by name where these are levels or times. With
    `residual_scale`, at scale 1.

    Parameters
    ----------
    points
        Numbers for one coordinate; rows of numbers, or a data frame, for several. Visits
        that are levels or times as in the data of the fit.

    Returns
    -------
    One row and column a point; a dict of such frames by arm where arms have parameters of
    their own.

    Raises
    ------
    ModelError
        For independent residuals, or a structure over visits; see `residual_cov`.
    DataError
        For points that are no numbers, or visits that the fit has not.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> data = mlm.load_sleepstudy()
    >>> fit = mlm.lmm("Reaction ~ Days", data, residual="car1(Days | Subject)")
    >>> fit.residual_cov_at([0, 0.5, 10]).iloc[0].round(1).tolist()
    [2451.7, 2192.8, 263.1]
    """
    residual = fit._record.residual
    if residual is None:
        raise ModelError("the model has no residual structure: residuals are independent")
    frames = _by_arm(residual, points)
    return frames if len(frames) > 1 else frames[residual.arms[0]]


def _by_arm(residual: ResidualRecord, points: Any) -> dict[str, pd.DataFrame]:
    """Covariance of one subject's residuals at ``points``, by arm.

    Raises
    ------
    ModelError
        For a structure over visits, whose covariances are no function of distances.
    DataError
        For points that are no numbers, or have other coordinates than the structure's.
    """
    written = parse_residual(residual.text)
    call, kind = written.calls[0], structure_kind(written.calls[0], residual.text)
    spatial = kind.needs == "coordinates"
    if len(written.calls) > 1 or not (spatial or is_series(kind, call.coordinates)):
        raise ModelError(
            f"residual={residual.text!r} is over visits, and no function of distances; "
            "residual_cov has the covariance of every visit"
        )
    if not spatial and residual.step == 0.0:
        return _at_visits(residual, points, call.coordinates[0])
    places, labels = _places(points, call.coordinates, residual.text)
    if not spatial:
        places = _whole_steps(places, residual)
    natural = residual.parameters.reshape(len(residual.arms), -1)
    find = _spatial if spatial else _along_series
    out = {}
    same = (places[:, None] == places).reshape(len(places), len(places), -1).all(axis=2)
    told = residual.told_parameters.reshape(natural.shape)
    for arm, own, known in zip(residual.arms, natural, told, strict=True):
        matrix = find(kind, written, own[None], places)
        # A correlation or range that no data tell leaves the variance alone.
        matrix = np.where(same, matrix, np.nan) if np.isnan(known).any() else matrix
        out[arm] = pd.DataFrame(matrix, index=labels, columns=labels)
    return out


def _at_visits(residual: ResidualRecord, points: Any, name: str) -> dict[str, pd.DataFrame]:
    """Covariances of visits that are levels or times, by their names: no number places them."""
    if not residual.visits:
        raise ModelError(
            f"residual={residual.text!r} is over more visits than are kept by name, and these are "
            "no numbers; R(cluster) has the covariance of a subject's rows"
        )
    asked = points[[name]] if isinstance(points, pd.DataFrame) and name in points else points
    try:
        column = asked[name] if isinstance(asked, pd.DataFrame) else asked
        visits = Frame.from_native({name: column}).factor(name)
    except (TypeError, ValueError):
        raise DataError(f"points: visits of {name!r} are needed, found {points!r}") from None
    codes, unknown = visits.recode(residual.visits)
    if unknown or len(codes) == 0 or (codes < 0).any():
        found = repr(unknown[0]) if unknown else "a missing one" if len(codes) else "none"
        raise DataError(
            f"points: residual={residual.text!r} is over visits by name, {found} is none of "
            f"{', '.join(residual.visits)}; for numbers between them make {name!r} numeric"
        )
    labels = pd.Index([residual.visits[k] for k in codes.tolist()], name=name)
    at = np.ix_(codes, codes)
    return {
        arm: pd.DataFrame(matrix[at], index=labels, columns=labels)
        for arm, matrix in zip(residual.arms, residual.told, strict=True)
    }


def _whole_steps(points: FloatArray, residual: ResidualRecord) -> FloatArray:
    """Points as steps from the first of them."""
    along = (points - points[0]) / residual.step
    if (np.abs(along - np.rint(along)) > _MISPLACED).any():
        step, unit = residual.step, "" if residual.step == 1 else f" of {residual.step:g}"
        raise DataError(
            f"points: residual={residual.text!r} goes by whole steps{unit}; give whole numbers of "
            f"them, as in [0, {step:g}, {2 * step:g}]"
        )
    return np.asarray(np.rint(along))


def _spatial(
    kind: type[CovarianceStructure],
    written: ResidualFormula,
    natural: FloatArray,
    places: FloatArray,
) -> FloatArray:
    # A point more, far enough to be another: structures need two.
    every = np.concatenate([places, places[:1] + 1.0])
    structure = instance(written.calls[0], kind, len(every), written, points=every)
    return structure.matrix(structure.from_natural(natural))[0, :-1, :-1]


def _along_series(
    kind: type[CovarianceStructure],
    written: ResidualFormula,
    natural: FloatArray,
    places: FloatArray,
) -> FloatArray:
    structure = instance(written.calls[0], kind, _FEW, written)
    theta = structure.from_natural(natural)
    # theta begins with the log standard deviation.
    return np.asarray(np.exp(2.0 * theta[0, 0]) * correlations_at(structure, theta, places[:, 0]))


def _places(
    points: Any, coordinates: Sequence[str], text: str
) -> tuple[FloatArray, pd.Index[Any] | pd.MultiIndex]:
    """Coordinates (n, d) and labels of the rows."""
    if isinstance(points, pd.DataFrame):
        missing = [name for name in coordinates if name not in points.columns]
        if missing:
            raise DataError(f"points has no column {missing[0]!r}, which residual={text!r} needs")
        points = points[list(coordinates)]
    try:
        values = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"points: numbers are needed, found {points!r}") from None
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or values.shape[1] != len(coordinates) or len(values) == 0:
        raise DataError(
            f"points of shape {values.shape}: residual={text!r} is over "
            f"{', '.join(coordinates)}; give a row for each point, {len(coordinates)} number(s) "
            "each, or a data frame with these columns"
        )
    if not np.isfinite(values).all():
        raise DataError("points: a coordinate is missing or infinite")
    if len(coordinates) == 1:
        return values, pd.Index(values[:, 0], name=coordinates[0])
    return values, pd.MultiIndex.from_arrays(list(values.T), names=list(coordinates))
