"""One curve of a fit: its values with bands, its derivative, a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.confidence_level import check_level
from mlmfast.display.printed_frame import PrintedFrame
from mlmfast.distributions import quantile
from mlmfast.errors import DataError, ModelError
from mlmfast.inference.multiplicity.maximum_t import MaximumT
from mlmfast.smooths.curves import FittedCurve
from mlmfast.smooths.joint import joint_effects
from mlmfast.smooths.table import effective_df, residual_df

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

_POINTS, _MOST_POINTS = 100, 100_000


@dataclass(frozen=True, eq=False)
class Smooth:
    """A curve of a fit, centred about 0 over the rows as mgcv's are, without the intercept.

    Attributes
    ----------
    name
        mgcv's name of it.
    edf
        Effective degrees of freedom, the straight part's among them.
    df
        Residual degrees of freedom, by which bands are: rows less those of all effects.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ s(Days, k=8) + (1 | Subject)", mlm.load_sleepstudy())
    >>> curve = fit.smooth("Days")
    >>> curve
    s(Days): 1 effective degree of freedom, 8 basis functions
    >>> curve.curve([0, 9])[["Days", "estimate", "std_error"]].round(2).to_numpy().tolist()
    [[0.0, -47.1, 3.62], [9.0, 47.1, 3.62]]
    """

    name: str
    edf: float
    df: float
    _curve: FittedCurve
    _estimate: FloatArray
    _covariance: FloatArray

    @property
    def k(self) -> int:
        """Basis functions."""
        return self._curve.smooth.k

    def curve(self, x: Any = None, level: float = 0.95) -> PrintedFrame:
        """Values of the curve with standard errors, pointwise and simultaneous bands.

        Beyond the data the curve goes on as a straight line, as mgcv's do. Standard errors are
        those of mgcv's Bayesian covariance (of the error of prediction), for known variances;
        bands are by t with `df` degrees of freedom. The simultaneous band holds for the whole
        curve over the data, whatever points are asked for: by the distribution of the largest t
        statistic at 100 points, integrated without random numbers.

        Parameters
        ----------
        x
            Values of the variable; 100 over the data by default.
        level
            Level of the bands.

        Returns
        -------
        Columns: the variable, estimate, std_error, lower, upper, lower_simultaneous and
        upper_simultaneous.
        """
        return self._table(x, level, 0)

    def derivative(self, x: Any = None, level: float = 0.95) -> PrintedFrame:
        """The slope of the curve, in the columns of `curve`."""
        return self._table(x, level, 1)

    def plot(self, ax: Any = None, level: float = 0.95, derivative: bool = False) -> Any:
        """The curve, its pointwise band and the lines of the simultaneous one; the axes."""
        from mlmfast.smooths.picture import curve_picture

        frame = self._table(None, level, int(derivative))
        return curve_picture(frame, f"slope of {self.name}" if derivative else self.name, ax)

    def _table(self, x: Any, level: float, order: int) -> PrintedFrame:
        check_level(level)
        points = self._points(x)
        columns = self._curve.columns(points, order)
        estimate = columns @ self._estimate
        variance = np.maximum(((columns @ self._covariance) * columns).sum(axis=1), 0.0)
        error = np.sqrt(variance)
        alone = float(quantile(np.array([self.df]), level)[0])
        together = self._together(level, order)
        out = {self._curve.variable: points, "estimate": estimate, "std_error": error}
        for suffix, half in (("", alone * error), ("_simultaneous", together * error)):
            out |= {f"lower{suffix}": estimate - half, f"upper{suffix}": estimate + half}
        frame = PrintedFrame(out)
        frame.title = f"Slope of {self.name}" if order else self.name
        return frame

    def _points(self, x: Any) -> FloatArray:
        if x is None:
            low, high = self._curve.range
            return np.linspace(low, high, _POINTS)
        try:
            points = np.atleast_1d(np.asarray(x, dtype=np.float64))
        except (TypeError, ValueError):
            raise DataError(f"x are values of {self._curve.variable}, numbers") from None
        if (
            points.ndim != 1
            or not 1 <= points.size <= _MOST_POINTS
            or not np.isfinite(points).all()
        ):
            raise DataError(
                f"x are values of {self._curve.variable}: one row of finite numbers, at most "
                f"{_MOST_POINTS:,}"
            )
        return points

    def _together(self, level: float, order: int) -> float:
        """Quantile of the largest t statistic over the range of the data."""
        low, high = self._curve.range
        columns = self._curve.columns(np.linspace(low, high, _POINTS), order)
        error = np.sqrt(np.maximum(((columns @ self._covariance) * columns).sum(axis=1), 0.0))
        rows = columns[error > 0.0] / error[error > 0.0, None]
        # A straight line has the same statistic, but for its sign, everywhere.
        different = np.unique((rows * np.sign(rows[:, :1])).round(9), axis=0)
        if len(different) < 2:
            return float(quantile(np.array([self.df]), level)[0])
        return MaximumT(rows @ self._covariance @ rows.T).critical_value(1.0 - level, self.df)

    def __repr__(self) -> str:
        edf = f"{self.edf:.3g}"
        noun = "degree" if edf == "1" else "degrees"
        return f"{self.name}: {edf} effective {noun} of freedom, {self.k} basis functions"


def smooth(fit: Fitted, name: str | None = None) -> Smooth:
    """One curve of a smooth term, with bands; see `Smooth`.

    Parameters
    ----------
    name
        "s(x)", or "x" where one curve is of x; with a factor `by`, "s(x):fA". It may be left out
        where there is one curve.

    Raises
    ------
    ModelError
        Where the model has no such curve.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ s(Days, k=8) + (1 | Subject)", mlm.load_sleepstudy())
    >>> fit.smooth("s(Days)").derivative([4.5])["estimate"].round(3).item()
    10.467
    """
    joint = joint_effects(fit)
    k = _position(joint.curves, name)
    places = joint.places[k]
    return Smooth(
        joint.curves[k].name,
        effective_df(joint, k)[0],
        residual_df(fit),
        joint.curves[k],
        joint.estimate[places],
        joint.covariance[np.ix_(places, places)],
    )


def _position(curves: tuple[FittedCurve, ...], name: str | None) -> int:
    names = [curve.name for curve in curves]
    if name is None and len(names) == 1:
        return 0
    plain = None if name is None else str(name).replace(" ", "")
    same = [k for k, own in enumerate(names) if own.replace(" ", "") == plain]
    of_variable = [k for k, c in enumerate(curves) if c.variable.replace(" ", "") == plain]
    found = same or of_variable
    if len(found) == 1:
        return found[0]
    what = "give the name of one" if name is None else f"{name!r} is none of them"
    what = f"several are of {name!r}" if len(found) > 1 else what
    raise ModelError(f"the model has the curves {', '.join(names)}; {what}")
