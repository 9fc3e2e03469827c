"""The criterion plus a barrier where a residual covariance becomes singular.

-mu [log det R - K log(tr R / K)] holds an iteration where R is positive definite and derivatives
are exact; what it tells is the matter of `fitting/minima/near_singular.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.covariance.spatial.base import Spatial
from mlmfast.criterion.criterion import Criterion
from mlmfast.criterion.some_fits import SomeFits
from mlmfast.newton.iteration import Derivatives


@dataclass(frozen=True)
class ResidualPart:
    """A covariance over visits within theta: that of an arm.

    Attributes
    ----------
    structure
        The structure.
    theta
        Its stretch of theta.
    in_chart
        Whether steps are in its chart rather than in theta itself.
    """

    structure: CovarianceStructure
    theta: slice
    in_chart: bool


@dataclass(frozen=True)
class Barrier:
    """The criterion plus a barrier at singular residual covariances.

    Attributes
    ----------
    criterion
        The criterion of one fit.
    parts
        The residual covariances.
    mu
        Weight of the barrier.
    """

    criterion: SomeFits
    parts: tuple[ResidualPart, ...]
    mu: float

    def __call__(self, theta: FloatArray, fits: IntArray) -> Derivatives:
        """The sum, with derivatives by local coordinates."""
        return self.added(theta, self.criterion(theta, fits))

    def added(self, theta: FloatArray, at: Derivatives) -> Derivatives:
        """The sum where the criterion is ``at``."""
        value, gradient, hessian = at.value.copy(), at.gradient.copy(), at.hessian.copy()
        for part in self.parts:
            s = part.theta
            # Row by row: sums of a batch have other bits.
            for row, own in enumerate(theta[:, s]):
                found = barrier(part, own[None])
                value[row] += self.mu * found[0][0]
                gradient[row, s] += self.mu * found[1][0]
                hessian[row, s, s] += self.mu * found[2][0]
        bad = ~np.isfinite(value)
        value[bad], gradient[bad], hessian[bad] = np.inf, 0.0, 0.0
        return at._replace(value=value, gradient=gradient, hessian=hessian)

    def move(self, theta: FloatArray, step: FloatArray) -> FloatArray:
        """The point at local coordinates ``step`` around ``theta``."""
        return self.criterion.move(theta, step)


def barrier(part: ResidualPart, theta: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """K log(tr R / K) - log det R, 0 for a multiple of I, and its derivatives.

    Returns
    -------
    Value (a,), gradient (a, t) and Hessian (a, t, t) by the part's local coordinates.
    """
    structure, k = part.structure, part.structure.size
    matrix = structure.matrix(theta)
    trace = np.einsum("aii->a", matrix)
    sign, logdet = np.linalg.slogdet(matrix)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(sign > 0, k * np.log(trace / k) - logdet, np.inf)
    regular = np.isfinite(value)
    # Of what has gone to 0 as a whole nothing can be said.
    trace = np.where(regular, trace, 1.0)
    inverse = np.linalg.inv(np.where(regular[:, None, None], matrix, np.eye(k)))
    rows, columns = np.array(structure.entries, dtype=np.intp).T
    on = rows == columns
    by_entry = -inverse[:, rows, columns] * np.where(on, 1.0, 2.0)
    by_entry[:, on] += (k / trace)[:, None]
    if part.in_chart:
        jacobian, curvature = structure.chart(theta, by_entry)
    else:
        jacobian, curvature = structure.jacobian(theta), structure.curvature(theta, by_entry)
    gradient = np.einsum("ae,aet->at", by_entry, jacobian)
    directions = np.zeros((len(theta), jacobian.shape[2], k, k))
    directions[:, :, rows, columns] = directions[:, :, columns, rows] = jacobian.mT
    relative = inverse[:, None] @ directions
    traces = np.einsum("atii->at", directions) / trace[:, None]
    hessian = np.einsum("apij,aqji->apq", relative, relative)
    hessian -= k * traces[:, :, None] * traces[:, None, :]
    return value, gradient, hessian + curvature


def residual_parts(criterion: Criterion, spatial: bool = False) -> tuple[ResidualPart, ...]:
    """The residual covariances of a criterion over visits.

    With ``spatial`` those over points too (of a few of the points, where units have their own),
    which may be nearly singular as a matter of course.
    """
    return tuple(
        ResidualPart(structure, slice(s.start + at.start, s.start + at.stop), not term.by_theta)
        for term, s in zip(criterion.terms, criterion.theta_slices, strict=True)
        if term.form is not None
        for structure, at in term.form.may_be_singular()
        if spatial or not isinstance(structure, Spatial)
    )
