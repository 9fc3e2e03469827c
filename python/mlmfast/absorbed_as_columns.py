"""The same fit with the absorbed factor's levels as columns of X, for what needs them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mlmfast.design.columns.contrasts import contrast_coding
from mlmfast.design.columns.model_matrix import ModelMatrix
from mlmfast.design.columns.model_variables import FactorVariable
from mlmfast.design.model_frame import ModelFrame, design_columns
from mlmfast.errors import ModelError
from mlmfast.fitted.estimates import estimates_of
from mlmfast.fitting.fit import fit_covariance
from mlmfast.newton import NewtonOptions

if TYPE_CHECKING:
    from mlmfast.absorbed_result import AbsorbedResult
    from mlmfast.result import LMMResult

#: Levels, and bytes of their columns, up to which they are formed.
MOST_LEVELS = 2_000
LARGEST = 2e9


def as_columns(fit: AbsorbedResult, what: str) -> LMMResult:
    """The fit again from its estimates, with all columns; kept by the fit.

    Raises
    ------
    ModelError
        Where they would be too many, or the fit holds parameters.
    """
    from mlmfast.fitted.source import FitSource
    from mlmfast.model import LMM, starting_theta
    from mlmfast.result import LMMResult

    levels, source = fit._levels, fit._needs_source(what)
    n, rows = len(levels.labels), fit.nobs
    if n > MOST_LEVELS or 8.0 * n * rows > LARGEST or source.parms is not None:
        raise ModelError(
            f"{what} needs all columns of X, and the fixed factor {levels.name!r} with {n:,} "
            f"levels was eliminated: these would take {8e-9 * n * rows:,.1f} GB. params, bse, df, "
            "contrast(), estimate(), anova(), predict(), ranef and the covariance parameters' "
            f"methods are there; absorb=False has the columns, where memory allows, and "
            f"(1 | {levels.name}) takes the levels as random"
        )
    assert source.frame is not None, "absorbed by a formula"
    frame = with_columns(source.frame)
    model = LMM.from_design(frame.design)
    model._frame = frame
    reduced = model._reduced(None)
    start = {name: fit.varcorr[name].to_numpy() for name in fit.ranef}
    theta = starting_theta(reduced, fit.method, {**start, "Residual": fit.scale}) if start else None
    # What the fit itself has warned of is not said again.
    covariance = fit_covariance(reduced, fit.method, NewtonOptions(), theta)
    estimates = estimates_of(reduced, covariance.criterion, covariance.theta)
    record = model._record(reduced, fit.method, covariance, estimates, fit.ddf)
    found = FitSource(reduced, covariance.criterion, covariance.theta, frame)
    return LMMResult(record, found, fit.timings)


def with_columns(frame: ModelFrame) -> ModelFrame:
    """A model frame with the absorbed factor's columns formed."""
    factor = frame.design.absorbed
    assert factor is not None, "the caller looked"
    coding = None
    if factor.by_contrasts:
        coding = contrast_coding("contr.treatment", factor.labels, factor.name)
    variable = frame.fixed.coded[factor.name]
    assert isinstance(variable, FactorVariable), "a factor was chosen"
    coded = {**frame.fixed.coded, factor.name: replace(variable, coding=coding)}
    spec = replace(frame.fixed, coded=coded, absorbed=None)
    matrix: ModelMatrix = spec.build(frame.frame)
    design = replace(frame.design, absorbed=None, x=design_columns(matrix), x_names=matrix.names)
    return replace(
        frame,
        design=design,
        fixed=spec,
        terms=matrix.terms,
        term_of_column=matrix.term_of_column,
    )
