"""Profile likelihood of the parameters of a fit: signed roots, confidence limits, plot."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mlmfast.confidence_level import check_level
from mlmfast.criterion.parameters.covariance_parameter import CovarianceParameter, check_engine
from mlmfast.criterion.parameters.spellings import asked_for
from mlmfast.display.html import in_text
from mlmfast.display.printed_frame import PrintedFrame, printed
from mlmfast.display.text import notes_text
from mlmfast.distributions import normal_quantile
from mlmfast.errors import ConvergenceWarning, ModelError, warn
from mlmfast.handed_out import copied
from mlmfast.inference.contrasts.coefficient_names import check_distinct
from mlmfast.inference.intervals.profile.curves import CovarianceCurves, Curves, FixedCurves
from mlmfast.inference.intervals.profile.independent_residuals import profiled_source
from mlmfast.inference.intervals.profile.sides import (
    Side,
    crossings,
    follow,
    n_rounds,
    new_sides,
)
from mlmfast.information.open_parameters import open_parameters, refuse_open
from mlmfast.running.progress_bar import ProgressBar

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

#: Distance between knots and how far a profile is followed, in units of zeta.
_STEP, _REACH = 0.6, 3.0


class Profile(PrintedFrame):
    """Profile likelihoods, one parameter at a time.

    The profile deviance D(b) is the rise of -2 log-likelihood over its minimum when one parameter
    is held at b and all others follow; zeta(b) = sign(b - estimate) sqrt(D(b)) is a straight line
    where the likelihood is quadratic (Bates et al. 2015, section 5.1). With a REML fit covariance
    parameters are profiled by the REML criterion, and fixed effects, over which it has been
    integrated, by maximum likelihood.

    Attributes
    ----------
    frame, table
        One row a point: ``parameter``, ``value``, ``zeta``, ``criterion`` ("REML" or "ML").
    estimates
        Estimate of each parameter under its criterion.
    notes
        Parameters that are left out, as the data do not determine them.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy(), method="ML")
    >>> fit.profile().conf_int().round(3)
                              lower    upper
    (Intercept)             231.992  270.818
    Days                      8.887   12.048
    sd_(Intercept)|Subject   26.007   52.936
    sigma                    27.814   34.591
    """

    _metadata = ["title", "notes", "estimates", "_parts"]  # noqa: RUF012

    estimates: pd.Series[float] = copied()

    def __init__(
        self,
        table: pd.DataFrame,
        estimates: pd.Series[float],
        parts: tuple[tuple[Curves, tuple[tuple[Side, Side], ...], str], ...],
    ) -> None:
        super().__init__(table)
        self.estimates, self._parts = estimates, parts

    @property
    def table(self) -> pd.DataFrame:
        """`frame`, by another name."""
        return self.frame

    def conf_int(self, level: float = 0.95) -> pd.DataFrame:
        """Values at which the profile deviance is the chi-square quantile, by Newton's method.

        A limit is an end of the parameter's range, a variance of 0 or a correlation of +-1, where
        the profile deviance stays below the quantile out to there. NaN: no limit was found.

        Parameters
        ----------
        level
            Between 0 and 1.

        Raises
        ------
        ModelError
            For a level outside (0, 1).
        """
        check_level(level)
        z = -float(normal_quantile((1.0 - level) / 2.0))
        rows: list[float] = []
        for curves, sides, _ in self._parts:
            rows += crossings(curves, [side for pair in sides for side in pair], z)
        limits = np.array(rows).reshape(-1, 2)
        out = pd.DataFrame(limits, index=self.estimates.index, columns=["lower", "upper"])
        return printed(out, "Profile likelihood limits", self.notes) if self.notes else out

    def plot(  # type: ignore[override]
        self, level: float = 0.95, ax: Any = None, scale: str = "zeta"
    ) -> Any:
        """Zeta by parameter, with the limits at ``level``; returns the matplotlib figure.

        A straight line says that the Wald interval serves. ``ax`` are the axes to draw in, one a
        parameter; ``scale="deviance"`` draws the rise of -2 log-likelihood, zeta squared.
        """
        from mlmfast.display.pictures.profile_plot import profile_plot

        return profile_plot(self.frame, self.conf_int(level), level, ax, scale)

    def __repr__(self) -> str:
        names = f"Profile of {', '.join(map(str, self.estimates.index))}"
        return "\n".join([names, *notes_text(self.notes)])

    def _repr_html_(self) -> str:
        return in_text(repr(self))


def profile(
    fit: Fitted, which: str | Sequence[str] | None = None, *, progress: bool | None = None
) -> Profile:
    """Profile likelihood of fixed effects and covariance parameters; see `Profile`.

    Parameters
    ----------
    which
        Names, "fixed", "covariance", or None for all that the data determine. Standard deviations
        are named ``sd_x|g``, correlations ``cor_x.y|g``, the residual's parameters as
        `residual_parameters`; other names of these are understood, such as ``Var(x) | g``, whose
        profile is that of its root. Where residuals of which the data tell one variance alone are
        held independent, profiles are those of the model with independent residuals, and
        ``Variance`` is their variance.
    progress
        A bar on a terminal or in a notebook: None after two seconds, True at once, False never.

    Raises
    ------
    ModelError
        For a name that is no parameter, is held in the fit, or is not determined by the data.
    """
    fit._needs_likelihood("profile()")
    source = fit._needs_source("a profile", of_sums=True)
    check_engine(source.model, "a profile")
    untold = open_parameters(
        source.model, source.criterion, source.theta, tuple(source.held_values)
    )
    plain = profiled_source(source, fit._record)
    every = CovarianceCurves(plain, ()).functions.parameters
    held = set(source.held_values)
    if which is not None and not isinstance(which, str):
        if not isinstance(which, Iterable) or not all(isinstance(name, str) for name in which):
            raise ModelError(
                f"which is {which!r}; give the name of a parameter, or a list of names"
            )
        which = list(which)
    if which is not None:
        which = _spelled(which, every, source.design.x_names)
        refuse_open([which] if isinstance(which, str) else which, untold, "profile")
    random = {
        parameter.name: p
        for p, parameter in enumerate(every)
        if parameter.kind != "covariance" and parameter.name not in held | untold
    }
    check_distinct([source.design.x_names[j] for j in source.model.kept])
    fixed = {source.design.x_names[j]: int(j) for j in source.model.kept}
    chosen = _chosen(which, fixed, random, held)
    parts: list[tuple[Curves, tuple[tuple[Side, Side], ...], str]] = []
    columns = tuple(fixed[name] for name in fixed if name in chosen)
    positions = tuple(random[name] for name in random if name in chosen)
    rounds = n_rounds(_STEP, _REACH) * (bool(columns) + bool(positions))
    with ProgressBar("profile", rounds, progress) as bar:
        if columns:
            parts.append(_follow(FixedCurves(plain, columns), "ML", bar))
        if positions:
            method = "REML" if source.criterion.reml else "ML"
            parts.append(_follow(CovarianceCurves(plain, positions), method, bar))
    names = [name for curves, _, _ in parts for name in curves.names]
    estimates = [float(e) for curves, _, _ in parts for e in curves.estimates]
    tables = [_table(*part) for part in parts]
    table = pd.concat(tables, ignore_index=True)
    out = Profile(table, pd.Series(estimates, index=names), tuple(parts))
    if which is None or which == "covariance":
        out.notes = _left_out(CovarianceCurves(source, ()).functions.parameters, untold)
    return out


def _left_out(
    parameters: Sequence[CovarianceParameter], untold: Collection[str]
) -> tuple[str, ...]:
    """A note on what has no profile, the data not telling it."""
    names = [p.name for p in parameters if p.name in untold and p.kind != "covariance"]
    return (f"left out, as the data do not determine them: {', '.join(names)}",) if names else ()


def _spelled(
    which: str | Sequence[str], every: Sequence[CovarianceParameter], fixed: Sequence[str]
) -> str | list[str]:
    """Names of covariance parameters as this module has them, however they were spelled."""
    if isinstance(which, str) and which in {"fixed", "covariance"}:
        return which
    out = []
    for name in [which] if isinstance(which, str) else which:
        found = None if name in fixed else asked_for(name, every)
        own = None if found is None else every[found.position]
        if own is not None and own.kind == "covariance":
            raise ModelError(
                f"{name!r} is a covariance, of which there is no profile; profile its correlation, "
                f"{own.name.replace('cov_', 'cor_', 1)!r}, or see derived(function, 'profile')"
            )
        out.append(name if own is None else own.name)
    return out


def _chosen(
    which: str | Sequence[str] | None, fixed: Any, random: Any, held: set[str]
) -> list[str]:
    if which is None:
        return [*fixed, *random]
    if isinstance(which, str) and which in {"fixed", "covariance"}:
        return list(fixed if which == "fixed" else random)
    chosen = [which] if isinstance(which, str) else list(which)
    for name in chosen:
        if name in fixed or name in random:
            continue
        if name in held:
            raise ModelError(f"{name!r} is held in this fit, so it has no profile")
        near = get_close_matches(str(name), [*fixed, *random], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ModelError(
            f"{name!r} is no parameter of this model{hint} "
            f"(parameters: {', '.join([*fixed, *random])})"
        )
    if not chosen:
        raise ModelError("which names no parameter; leave it out to profile all")
    return chosen


def _follow(
    curves: Curves, method: str, bar: ProgressBar
) -> tuple[Curves, tuple[tuple[Side, Side], ...], str]:
    pairs = []
    for which in range(len(curves.names)):
        lower, upper = new_sides(curves, which)
        pairs.append((lower, upper))
    sides = [side for pair in pairs for side in pair]
    follow(curves, sides, _STEP, _REACH, bar.advance)
    for side in sides:
        if side.lowest_rise < -1e-6:
            warn(
                f"the profile of {curves.names[side.which]!r} found a better fit than the fit's "
                f"(-2 log-likelihood lower by {-side.lowest_rise:.2g}); that is a local minimum: "
                "fit again with start=",
                ConvergenceWarning,
                "MLM302",
            )
            break
    return curves, tuple(pairs), method


def _table(curves: Curves, pairs: tuple[tuple[Side, Side], ...], method: str) -> pd.DataFrame:
    rows: list[tuple[str, float, float, str]] = []
    for name, (lower, upper) in zip(curves.names, pairs, strict=True):
        below = [(knot.value, -knot.zeta) for knot in reversed(lower.knots)]
        if lower.edge is not None and lower.edge[1] < _REACH:
            below.insert(0, (lower.edge[0], -lower.edge[1]))
        points = below + [(knot.value, knot.zeta) for knot in upper.knots[1:]]
        if upper.edge is not None and upper.edge[1] < _REACH:
            points.append(upper.edge)
        rows += [(name, value, zeta, method) for value, zeta in points]
    return pd.DataFrame(rows, columns=["parameter", "value", "zeta", "criterion"])
