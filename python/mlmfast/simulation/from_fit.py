"""A fit as a design: its rows, its model, and its estimates taken for true."""

from __future__ import annotations

import numpy as np

from mlmfast.errors import ModelError
from mlmfast.fitted.fitted import Fitted
from mlmfast.simulation.rows.rebuild import table_of, variables_of_model
from mlmfast.simulation.study_design import StudyDesign
from mlmfast.simulation.truth.parameters import Truth


def design_of_fit(fit: Fitted) -> StudyDesign:
    """The rows of a fit with its estimates as true parameters.

    Raises
    ------
    ModelError
        For a model from arrays or with an absorbed factor, and estimates that the data do not
        determine.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> design_of_fit(fit).along("Subject", 40).nobs
    400
    """
    source, record = fit._needs_source("a simulation"), fit._record
    model = source.frame
    if model is None:
        raise ModelError(
            "the model was made from arrays; a study needs one from a formula and a data frame"
        )
    if source.design.absorbed is not None:
        raise ModelError("a factor of the fit is absorbed; fit it with absorb=False")
    residual = record.residual
    untold = residual is not None and bool(residual.unseen or residual.unseen_parameters)
    if untold or any(term.unseen for term in record.terms):
        raise ModelError(
            "the data of the fit do not determine all its covariances; make a design with values "
            "for them: mlm.design(..., varcorr=..., residual_parameters=...)"
        )
    beta = np.zeros(len(record.x_names))
    beta[list(record.kept)] = record.beta
    truth = Truth(
        beta,
        tuple(term.covariance for term in record.terms),
        record.sigma2 if record.residual is None else np.nan,
        record.residual,
        record.residual_scale,
    )
    own = source.design.residual
    formula = None if own is None else own.formula
    scale = None if own is None or own.scale is None else own.scale.formula
    return StudyDesign(
        model,
        table_of(model.frame, variables_of_model(model)),
        source.design,
        truth,
        None if formula is None else formula.text,
        None if scale is None else scale.text,
    )
