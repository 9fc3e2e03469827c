"""A model frame in which the levels of an absorbed factor are columns of X."""

from __future__ import annotations

from dataclasses import replace

from mlmfast.design.columns.contrasts import contrast_coding
from mlmfast.design.columns.model_matrix import ModelMatrix
from mlmfast.design.columns.model_variables import FactorVariable
from mlmfast.design.model_frame import ModelFrame, design_columns


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
