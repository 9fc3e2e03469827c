"""Estimable functions of a fit, from its rows, its columns or sums over rows."""

from __future__ import annotations

from mlmfast.design.design import Design
from mlmfast.errors import ModelError
from mlmfast.fitted.fitted import Fitted
from mlmfast.inference.anova import EstimableFunctions, functions_of_columns, functions_of_formula


def estimable_functions(fit: Fitted) -> EstimableFunctions:
    """Estimable functions of a fit's fixed part, worked out once."""
    record = fit._record
    if not record.kept:
        raise ModelError(
            "the model has no fixed effects, so no terms and no means to test; add some to the "
            "formula"
        )
    known: EstimableFunctions | None = fit.__dict__.get("_estimable_functions")
    if known is None:
        source = fit._needs_source("a test of terms", of_sums=True)
        design = source.design
        # Least squares weights its sums of squares; programs for mixed models go by the design.
        is_linear = not design.random and design.residual is None and record.residual_scale is None
        weights = design.weights if is_linear else None
        if design.condensed is not None and fit._row_facts is not None:
            known = _of_sums(fit, design)
        elif record.fixed_spec is None or source.frame is None:
            known = functions_of_columns(design.x, design.x_names, record.kept, weights)
        else:
            rows = source.frame.frame
            known = functions_of_formula(record.fixed_spec, rows, record.kept, weights)
        fit.__dict__["_estimable_functions"] = known
    return known


def _of_sums(fit: Fitted, design: Design) -> EstimableFunctions:
    from mlmfast.inference.anova.of_sums import functions_of_sums

    record = fit._record
    assert record.fixed_spec is not None, "the caller looked"
    assert fit._row_facts is not None, "the caller looked"
    assert design.condensed is not None, "the caller looked"
    if design.is_weighted and design.random and design.condensed.unweighted is None:
        raise ModelError(
            "tests of terms go by sums over the rows without their weights, which this reduction "
            "does not hold (rows were withheld by min_cluster_size, or an earlier mlmfast made "
            "it); use contrast() with the coefficients you mean, or reduce the rows again"
        )
    return functions_of_sums(record.fixed_spec, design, fit._row_facts, record.kept)
