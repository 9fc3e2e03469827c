"""Satterthwaite's degrees of freedom."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.degrees_of_freedom.base import DegreesOfFreedom, TestBasis, wald
from mlmfast.degrees_of_freedom.fitted_rows import FittedRows
from mlmfast.degrees_of_freedom.stacked_bases import (
    StackedBases,
    is_regular,
    stacked_bases,
)
from mlmfast.information.information import Information
from mlmfast.reduction.reduced_model import ReducedModel


class Satterthwaite(DegreesOfFreedom):
    """df = 2 (c'Phi c)^2 / (g'W g), g the derivatives of c'Phi c by the covariance parameters.

    W is the inverse of their observed information. The degrees of freedom do not depend on how V
    is parameterised. Parameters on the boundary are held there.

    Several rows: Fai and Cornelius, by the eigenvectors of L Phi L'. Their degrees of freedom
    depend on how the rows are written, not on the hypothesis alone (Kenward and Roger's do not):
    the same three-row hypothesis has 143 to 164 in one unbalanced trial.

    References: Giesbrecht and Burns (1985) Biometrics 41:477; Fai and Cornelius (1996) Journal of
    Statistical Computation and Simulation 54:363; SAS/STAT User's Guide, MODEL statement of PROC
    MIXED, DDFM=SATTERTHWAITE; Kuznetsova et al. (2017) Journal of Statistical Software 82(13).

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> fit.df.round(6).to_dict()
    {'(Intercept)': 17.0, 'Days': 17.0}
    """

    name: ClassVar[str] = "satterthwaite"
    label: ClassVar[str] = "Satterthwaite"
    information: ClassVar[str | None] = "observed"
    stacks: ClassVar[bool] = True

    def basis(self, fitted: FittedRows) -> TestBasis:
        found = in_core_coordinates(fitted)
        if found is not None and found.usable[0]:
            own = (found.gradient[0], found.covariance[0])
            return TestBasis(self.name, fitted.vcov, fitted.vcov, *own)
        information = fitted.information
        return TestBasis(
            self.name,
            fitted.vcov,
            fitted.vcov,
            gradient_of_phi(information),
            information.covariance("observed"),
            note=unidentified_note(information, "observed"),
        )

    def of_coefficients(self, basis: TestBasis) -> FloatArray:
        # The bits of `of_rows` by the rows of an identity, without its products.
        gradient, covariance = derivatives_of(basis)
        slopes = gradient.diagonal(axis1=1, axis2=2).copy().T
        return of_variances(basis.phi.diagonal(), slopes, covariance)

    def of_rows(self, basis: TestBasis, rows: FloatArray) -> FloatArray:
        return satterthwaite(basis, rows)

    def joint(
        self, basis: TestBasis, rows: FloatArray, difference: FloatArray
    ) -> tuple[float, float]:
        # Eigenvectors of L Phi L' by singular vectors of L times a root of Phi: twice the digits.
        vectors, _, _ = np.linalg.svd(rows @ np.linalg.cholesky(basis.phi), full_matrices=False)
        statistic = wald(basis.phi, rows, difference) / len(rows)
        return statistic, fai_cornelius(satterthwaite(basis, vectors.T @ rows))


def in_core_coordinates(
    fitted: FittedRows, adjusts: bool = False, expected: bool = False
) -> StackedBases | None:
    """The basis as a batch has it, so that both have the same bits; None where there is none."""
    model = fitted.model
    if fitted.held is not None or fitted.criterion.flat is not None:
        return None
    if not is_regular(model):
        return None
    assert model.nested is not None, "that of a regular model"
    fits = np.array([fitted.fit])
    maps = core_maps(model, fits)
    parts = (model.nested, fitted.criterion, fitted.theta, fits, maps, model.design.n_observations)
    singular = np.array([fitted.singular], dtype=np.bool_)
    return stacked_bases(*parts, adjusts, singular, expected)


def core_maps(model: ReducedModel, fits: IntArray) -> FloatArray:
    """Coefficients from the core's coordinates to the user's, (a, rank, rank)."""
    unit = model.core.y_scale[fits] / model.centers_and_scales[1][fits]
    return np.asarray(unit[:, None, None] * model.fixed_map)


def gradient_of_phi(information: Information) -> FloatArray:
    """dPhi_k = -Phi P_k Phi, P_k = dX'V^-1 X, by the free parameters, (r, rank, rank)."""
    maps = information.contrasts(np.eye(len(information.c)))
    half = maps @ information.phi
    return np.asarray(-(half @ information.by_parameters @ half.T))


def derivatives_of(basis: TestBasis) -> tuple[FloatArray, FloatArray]:
    """Derivatives of Phi, and the covariance of the parameters, of a basis that has them."""
    if basis.gradient is None or basis.covariance is None:
        raise AssertionError("another method's basis")
    return basis.gradient, basis.covariance


def satterthwaite(basis: TestBasis, rows: FloatArray) -> FloatArray:
    """Degrees of freedom of each of m rows, (m,); infinite where the variance is known."""
    gradient, covariance = derivatives_of(basis)
    variance = ((rows @ basis.phi) * rows).sum(axis=1)
    slopes = ((rows @ gradient) * rows).sum(axis=2).T
    return of_variances(variance, slopes, covariance)


def of_variances(variance: FloatArray, slopes: FloatArray, covariance: FloatArray) -> FloatArray:
    """Degrees of freedom of n estimated variances, 2 v^2 / (g'W g); infinite where g is 0.

    Parameters
    ----------
    variance, slopes : shapes (n,), (n, r), their derivatives by the covariance parameters.
    covariance : shape (r, r), W.

    Examples
    --------
    >>> of_variances(np.array([2.0]), np.array([[1.0]]), np.array([[0.8]]))
    array([10.])
    """
    spread = ((slopes @ covariance) * slopes).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(spread > 0, 2.0 * variance**2 / spread, np.inf))


def fai_cornelius(degrees: FloatArray) -> float:
    """Denominator degrees of freedom of l independent t tests taken together.

    E F = (sum of nu / (nu - 2)) / l is matched; 2 where some nu <= 2, the mean of F being infinite
    then (as lmerTest does).

    Examples
    --------
    >>> fai_cornelius(np.array([17.0, 17.0])), fai_cornelius(np.array([1.5, 20.0]))
    (17.0, 2.0)
    """
    if len(degrees) == 1:
        return float(degrees[0])
    if np.isinf(degrees).all():
        return float("inf")
    if np.any(degrees <= 2.0):
        return 2.0
    # sum nu / (nu - 2) - l = sum 2 / (nu - 2): no cancellation for large nu.
    excess = float((2.0 / (degrees - 2.0)).sum())
    return 2.0 * (excess + len(degrees)) / excess


def unidentified_note(information: Information, kind: str) -> str:
    """What to say where the data do not tell some combination of the covariance parameters."""
    n = information.n_unidentified(kind)
    if n == 0:
        return ""
    what = "combination" if n == 1 else "combinations"
    return (
        f"the data do not tell {n} {what} of the covariance parameters, held fixed in the degrees "
        "of freedom"
    )
