"""The table of smooth terms: effective degrees of freedom, and tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.display.printed_frame import PrintedFrame
from mlmfast.inference.comparison.conditional_aic import trace_of_random_part
from mlmfast.smooths.joint import JointEffects, joint_effects
from mlmfast.smooths.wald_test import curve_test

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

_NOTE = (
    "edf: effective degrees of freedom. F: Wald test that the curve is 0, of rank ref_df "
    "(Wood 2013), for known variances"
)


def smooths(fit: Fitted) -> PrintedFrame:
    """The smooth terms, a row a curve, as mgcv's summary has them.

    Columns: ``k``, the basis functions; ``sd``, the standard deviation of the curved part over the
    rows by the estimated variance; ``edf``, the trace of the part of F = (W'R^-1 W + P)^-1 W'R^-1 W
    that is the curve's; ``ref_df``, that of 2 F - F F; ``F``, ``df`` and ``p_value`` of the test
    that the curve is 0 in every row (Wood 2013, Biometrika 100, 221). The test takes the variances
    as known, so that p-values are somewhat low where little tells them. ``df`` are the rows less
    the effective degrees of freedom of the whole model. Other random effects count as part of the
    covariance of the rows: edf is that of mgcv's ``gam`` with ``s(g, bs="re")`` and of ``gamm``,
    ref_df that of ``gam`` where there are none.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ s(Days, k=8) + (Days | Subject)", mlm.load_sleepstudy())
    >>> fit.smooths[["k", "edf"]].round(2).to_numpy().tolist()
    [[8.0, 1.28]]
    """
    joint = joint_effects(fit)
    df = residual_df(fit)
    rows = []
    for k, curve in enumerate(joint.curves):
        places = joint.places[k]
        edf, ref_df = effective_df(joint, k)
        found = curve_test(
            _columns(fit, joint, k),
            joint.estimate[places],
            joint.covariance[np.ix_(places, places)],
            min(ref_df, len(places)),
            df,
        )
        sd = float(np.sqrt(joint.prior[places[-1]]))
        rows.append((curve.smooth.k, sd, edf, ref_df, found.f, df, found.p))
    frame = PrintedFrame(
        rows,
        columns=["k", "sd", "edf", "ref_df", "F", "df", "p_value"],
        index=pd.Index([curve.name for curve in joint.curves], name="smooth"),
    )
    frame.title, frame.notes = "Smooth terms", (_NOTE,)
    return frame


def effective_df(joint: JointEffects, k: int) -> tuple[float, float]:
    """Effective and reference degrees of freedom of a curve."""
    influence, own = joint.influence, joint.places[k]
    edf = np.diag(influence)[own]
    squared = np.einsum("ij,ji->i", influence[own], influence[:, own])
    return float(edf.sum()), float((2.0 * edf - squared).sum())


def residual_df(fit: Fitted) -> float:
    """Rows less the effective degrees of freedom of all effects.

    Beside a residual covariance, of the fixed effects and the curves.
    """
    source, record = fit._needs_source("curves"), fit._record
    if source.design.residual is None and source.criterion.n_theta:
        return record.n_obs - record.rank - trace_of_random_part(source)
    joint = joint_effects(fit)
    return float(record.n_obs - np.trace(joint.influence))


def _columns(fit: Fitted, joint: JointEffects, k: int) -> FloatArray:
    """Columns of a curve at the rows, times the roots of their weights."""
    design = fit._needs_source("curves").design
    kept, curve = fit._record.kept, joint.curves[k]
    straight = [design.x[kept[j]] for j in joint.places[k][: len(curve.straight)].tolist()]
    columns = [*straight, *design.random[curve.term].columns]
    out = np.column_stack([np.ones(design.n_obs) if c is None else c for c in columns])
    return out if design.weights is None else out * np.sqrt(design.weights)[:, None]
