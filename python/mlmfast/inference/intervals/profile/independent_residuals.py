"""The model whose profiles are those of a fit with residuals that are held independent.

Fixed effects may take up what would tell a residual covariance (see
`mlmfast.fitting.undetermined.held_residual`, `values`). The fit then stands at independent
residuals of one variance, by which its inference is that of the model without the structure. A
profile that let the structure go would leave that: by maximum likelihood, which sees all of V, it
can fall without bound.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mlmfast.covariance.scaled_covariance import ScaledCovariance
from mlmfast.covariance.structures.homogeneous_diagonal import HomogeneousDiagonal
from mlmfast.criterion.arms import residual_arms
from mlmfast.criterion.criterion import criterion_of
from mlmfast.design.residual.design import ResidualDesign
from mlmfast.errors import ModelError
from mlmfast.fitted.estimates import estimates_of
from mlmfast.fitted.origin.source import FitSource
from mlmfast.fitted.record import FitRecord
from mlmfast.fitting.fit import fit_covariance
from mlmfast.fitting.parms.fit import fit_with_parms
from mlmfast.fitting.parms.request import Parms
from mlmfast.newton import NewtonOptions
from mlmfast.reduction.parameter_steps import in_parameters
from mlmfast.reduction.reduce import reduce_design

#: Difference from a multiple of the identity that is rounding.
_ROUNDING = 1e-9
#: Difference of -2 log-likelihood of two forms of one model.
_SAME = 1e-5
_OPTIONS = NewtonOptions(tolerance=1e-11, max_iter=40)


def profiled_source(source: FitSource, record: FitRecord) -> FitSource:
    """What profiles are taken of: the fit, without a residual structure that no data tell.

    Raises
    ------
    ModelError
        Where some residuals are held independent and others are not.
    """
    source = _in_parameters(source)
    found, residual = record.undetermined, source.design.residual
    if found is None or residual is None:
        return source
    if not found.independent and all(" | " in name for name in found.absorbed):
        return source
    if not _is_independent(source):
        raise ModelError(
            f"the data tell one variance alone of some residuals of {residual.text}, which are "
            "held independent, and more of others; there is no profile of such a fit: write a "
            "structure of residuals that the data determine"
        )
    out = _fitted(source, residual)
    scale = None if out.parms is None else out.parms.log_sigma2
    deviance = estimates_of(out.model, out.criterion, out.theta, scale).deviance[0]
    if not abs(float(deviance) - record.deviance) < _SAME:
        raise ModelError(
            f"residuals of {residual.text} are held independent, and the model without a structure "
            "has another likelihood, so there are no profiles; fit without residual= for those"
        )
    return out


def _in_parameters(source: FitSource) -> FitSource:
    """The same fit, whose steps are those of its parameters."""
    model = in_parameters(source.model)
    if model is source.model:
        return source
    method = "REML" if source.criterion.reml else "ML"
    return replace(
        source, model=model, criterion=criterion_of(model, method, source.criterion.flat)
    )


def _is_independent(source: FitSource) -> bool:
    """Whether the residuals of each arm are independent, of one variance at scale 1."""
    for structure, s, _ in residual_arms(source.criterion):
        own = source.theta[:1, s]
        if isinstance(structure, ScaledCovariance):
            matrices = structure.reference(own)
        else:
            matrices = [structure.matrix(own)]
        for matrix in matrices:
            one = np.eye(matrix.shape[-1]) * matrix[0, 0, 0]
            if not np.abs(matrix[0] - one).max() <= _ROUNDING * matrix[0, 0, 0]:
                return False
    return True


def _fitted(source: FitSource, residual: ResidualDesign) -> FitSource:
    """The fit of the same data with independent residuals, what the user holds held."""
    design = replace(source.design, residual=_independent(residual))
    model = reduce_design(design)
    method = "REML" if source.criterion.reml else "ML"
    held = source.held_values
    if not held:
        found = fit_covariance(model, method, _OPTIONS)
        return FitSource(model, found.criterion, found.theta, None)
    parms = fit_with_parms(model, method, _OPTIONS, None, Parms(hold=held))
    return FitSource(model, parms.covariance.criterion, parms.covariance.theta, None, parms)


def _independent(residual: ResidualDesign) -> ResidualDesign:
    """Residuals of one variance an arm; with a scale, at the visits that it is told by."""
    if residual.scale is not None:
        return replace(residual, structure=HomogeneousDiagonal(residual.structure.size))
    n = len(residual.units)
    rows = np.arange(n, dtype=np.int32)
    return replace(
        residual,
        structure=HomogeneousDiagonal(1),
        visits=("",),
        units=rows,
        n_units=n,
        positions=residual.arm_of_rows.astype(np.int32),
        along=None,
        between=(),
    )
