"""Kenward and Roger's adjusted covariance, degrees of freedom and scaled F, in four forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.degrees_of_freedom.base import (
    DegreesOfFreedom,
    TestBasis,
    orthonormal_rows,
    wald,
)
from mlmfast.degrees_of_freedom.fitted_rows import FittedRows
from mlmfast.degrees_of_freedom.satterthwaite import (
    derivatives_of,
    gradient_of_phi,
    in_core_coordinates,
    satterthwaite,
    unidentified_note,
)
from mlmfast.errors import ModelError
from mlmfast.information.information import Information

#: A2/l - c2 B of a design in which F is exact; the rest is rounding of the estimates.
_EXACT = 1e-6
#: F with four degrees of freedom or fewer has no variance to match. Between two and four the
#: formulas still give a test that keeps its level (in 2,500 simulated data sets of 4 to 7
#: subjects) where the mean and the variance of F tell nearly the same denominator, and the scale
#: does not exceed that of an exact test by more than rounding to second order explains.
_APART, _LARGEST_SCALE = 1.25, 1.1
_NO_MATCH = (float("nan"), float("nan"))


class KenwardRoger(DegreesOfFreedom):
    """PROC MIXED's DDFM=KR: standard errors from Phi_A, degrees of freedom and F scaled.

    Phi_A = Phi + 2 Phi { sum_ij W_ij (Q_ij - P_i Phi P_j - R_ij / 4) } Phi, with W the inverse of
    the *observed* information of PROC MIXED's covariance parameters, P_i = -X'V^-1 V_i V^-1 X,
    Q_ij = X'V^-1 V_i V^-1 V_j V^-1 X and R_ij = X'V^-1 V_ij V^-1 X. The last term depends on how V
    is parameterised: mmrm's parameters differ from these, and so do its standard errors, in the
    third or fourth digit. Parameters on the boundary are held there.

    References: Kenward and Roger (1997) Biometrics 53:983, equations for Phi_A, A_1, A_2, m and
    lambda; SAS/STAT User's Guide, MODEL statement of PROC MIXED, DDFM=KENWARDROGER.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> data = mlm.load_sleepstudy().iloc[:-7]
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", data, ddf="kenward-roger")
    >>> fit.df.round(3).to_dict()
    {'(Intercept)': 17.099, 'Days': 16.432}
    """

    name: ClassVar[str] = "kenward-roger"
    label: ClassVar[str] = "Kenward-Roger"
    #: Which information of the covariance parameters.
    information: ClassVar[str | None] = "observed"
    adjusts: ClassVar[bool] = True
    stacks: ClassVar[bool] = True
    no_joint: ClassVar[str] = (
        "no F distribution matches Kenward and Roger's mean and variance, with so few clusters for "
        "so many covariance parameters; tests of single rows, the chi-square statistic, "
        "ddf='satterthwaite' or a parametric bootstrap remain"
    )
    #: Is the term with second derivatives of V part of it?
    bends: ClassVar[bool] = True

    needs_reml: ClassVar[bool] = True
    why_reml: ClassVar[str] = (
        "the correction is derived for REML estimates of the covariance parameters. Fit with "
        "method='REML', or take ddf='satterthwaite', which ML fits have too"
    )

    def basis(self, fitted: FittedRows) -> TestBasis:
        self.check(fitted.reml)
        together = self.stacks and (self.stacks_singular or not any(fitted.singular))
        expected = self.information == "expected"
        found = in_core_coordinates(fitted, True, expected) if together else None
        if found is not None and found.usable[0] and found.extra is not None:
            adjusted = fitted.vcov + found.extra[0]
            if is_definite(adjusted):
                own = (found.gradient[0], found.covariance[0])
                return TestBasis(self.name, adjusted, fitted.vcov, *own)
        information = self.about(fitted)
        weights = information.covariance(self._kind)
        adjusted = self._adjusted(fitted, information, weights)
        if not is_definite(adjusted):
            raise not_definite(self.name, lambda method: method._serves(fitted))
        return TestBasis(
            self.name,
            adjusted,
            fitted.vcov,
            gradient_of_phi(information),
            weights,
            note=unidentified_note(information, self._kind),
        )

    def _adjusted(
        self, fitted: FittedRows, information: Information, weights: FloatArray
    ) -> FloatArray:
        maps, phi = information.contrasts(np.eye(len(information.c))), information.phi
        extra = maps @ phi @ self.correction(information, weights) @ phi @ maps.T
        return np.asarray(fitted.vcov + (extra + extra.T))

    def _serves(self, fitted: FittedRows) -> bool:
        information = self.about(fitted)
        weights = information.covariance(self._kind)
        return is_definite(self._adjusted(fitted, information, weights))

    def about(self, fitted: FittedRows) -> Information:
        return fitted.information.with_covariances()

    @property
    def _kind(self) -> str:
        assert self.information is not None, "every form goes by one"
        return self.information

    def correction(self, information: Information, weights: FloatArray) -> FloatArray:
        """The braces of Phi_A, (rank, rank)."""
        phi, by = information.phi, information.by_parameters
        r, rank = len(weights), len(phi)
        weighted = (weights @ by.reshape(r, -1)).reshape(r, rank, rank)
        out = 0.5 * information.second_sum(weights) - (by @ phi @ weighted).sum(axis=0)
        if self.bends:
            out = out - 0.25 * information.bend_sums(weights, singular=False)[0]
        return np.asarray(out)

    def of_rows(self, basis: TestBasis, rows: FloatArray) -> FloatArray:
        # For one row m = 2 / A_2 and lambda = 1: Satterthwaite's form with this W.
        return satterthwaite(basis, rows)

    def joint(
        self, basis: TestBasis, rows: FloatArray, difference: FloatArray
    ) -> tuple[float, float]:
        size = len(rows)
        degrees, scale = scaled_f(basis, rows)
        return scale * wald(basis.vcov, rows, difference) / size, degrees


class KenwardRogerLinear(KenwardRoger):
    """PROC MIXED's DDFM=KR(LINEAR): `KenwardRoger` without second derivatives of V.

    It does not depend on how V is parameterised (beyond the choice of W, which does not either).
    """

    name: ClassVar[str] = "kenward-roger-linear"
    label: ClassVar[str] = "Kenward-Roger (linear)"
    bends: ClassVar[bool] = False


class KenwardRogerExpected(KenwardRogerLinear):
    """pbkrtest's form: W from the expected information of all elements of G and sigma^2.

    A variance estimated as 0 counts like any other parameter, as pbkrtest counts it. Second
    derivatives are left out; for random effects without a residual structure there are none.

    References: Halekoh and Hojsgaard (2014) Journal of Statistical Software 59(9).
    """

    name: ClassVar[str] = "kenward-roger-expected"
    label: ClassVar[str] = "Kenward-Roger (expected information)"
    information: ClassVar[str | None] = "expected"

    def about(self, fitted: FittedRows) -> Information:
        return fitted.information_of_all.with_covariances()


class KenwardRoger2009(KenwardRoger):
    """Kenward and Roger (2009), SAS's DDFM=KR2: the bias of the covariance parameters removed too.

    REML estimates of parameters in which V is not linear are biased to the order of the other
    terms, by b_s = -1/4 sum_r A_sr sum_tu W_tu tr(P V_r P V_tu), A the inverse of the expected
    information (Cox and Snell 1968, J. R. Statist. Soc. B 30:248, applied to the REML score).
    Phi_A = (KR's) - sum_s b_s dPhi_s then no longer depends on how V is parameterised; where V is
    linear in the parameters it is KR's.

    References: Kenward and Roger (2009) Computational Statistics and Data Analysis 53:2583;
    SAS/STAT User's Guide, MODEL statement of PROC MIXED, DDFM=KENWARDROGER2.
    """

    name: ClassVar[str] = "kenward-roger-2009"
    label: ClassVar[str] = "Kenward-Roger (2009)"
    stacks_singular: ClassVar[bool] = False

    def correction(self, information: Information, weights: FloatArray) -> FloatArray:
        r_sum, traces = information.bend_sums(weights)
        linear = KenwardRogerLinear().correction(information, weights)
        bias = -0.25 * information.covariance("expected") @ traces
        # Phi_A takes twice this: - b_s dPhi_s = b_s Phi P_s Phi.
        along = np.tensordot(bias, information.by_parameters, axes=1)
        return np.asarray(linear - 0.25 * r_sum + 0.5 * along)


def is_definite(adjusted: FloatArray) -> bool:
    """Whether Phi_A is a covariance: second derivatives, or W far off, may have undone it."""
    diagonal = np.diag(adjusted)
    if not (diagonal > 0).all():
        return False
    scaled = adjusted / np.sqrt(np.outer(diagonal, diagonal))
    return bool(np.linalg.eigvalsh(scaled)[:1].min(initial=1.0) > 0.0)


#: What may serve in place of another, the nearest first.
_INSTEAD = (KenwardRogerLinear, KenwardRogerExpected, KenwardRoger, KenwardRoger2009)


def not_definite(name: str, serves: Callable[[KenwardRoger], bool]) -> ModelError:
    """The refusal of an adjusted covariance that is none, with the methods that this fit has."""
    others = [repr(m.name) for m in _INSTEAD if m.name != name and _tried(serves, m())]
    return ModelError(
        f"the covariance adjusted by ddf={name!r} is not positive definite: there are too few "
        "clusters for the second-order correction, or the fit is singular; use "
        + " or ".join([*others, "'satterthwaite'"])
    )


def _tried(serves: Callable[[KenwardRoger], bool], method: KenwardRoger) -> bool:
    try:
        return serves(method)
    except ModelError:
        return False


def scaled_f(basis: TestBasis, rows: FloatArray) -> tuple[float, float]:
    """Denominator degrees of freedom m and scale lambda of F for l independent rows.

    Kenward and Roger (1997), section 3: m and lambda match the mean E and the variance V of F to
    second order. Where the design makes F exact (analysis of variance with one denominator,
    Hotelling's T2) both agree, (1 - A2/l) = (1 - c2 B), and what is 0/0 at two degrees of freedom
    cancels: m - 2 = (3l + 2 (1 - g)) (1 - c2 B) / B. NaN, NaN where no F distribution matches.
    """
    a1, a2 = _spread(basis, rows)
    size = len(rows)
    if a2 <= 0.0:
        return float("inf"), 1.0
    if size == 1:
        return 2.0 / a2, 1.0
    b = (a1 + 6.0 * a2) / (2.0 * size)
    g = ((size + 1) * a1 - (size + 4) * a2) / ((size + 2) * a2)
    below = 3 * size + 2 * (1 - g)
    c1, c2, c3 = g / below, (size - g) / below, (size + 2 - g) / below
    # Far from the pole the formulas need no help.
    if a2 > 0.5 * size and abs(a2 / size - c2 * b) <= _EXACT * a2 / size:
        degrees = 2.0 + below / b * (1.0 - c2 * b)
        return (degrees, degrees * b / below) if degrees > 0.0 else _NO_MATCH
    by_mean, by_variance = 1.0 - a2 / size, 1.0 - c2 * b
    if by_mean <= 0.0 or by_variance <= 0.0:
        return _NO_MATCH
    ratio = (by_mean / by_variance) ** 2 * (1.0 + c1 * b) / (1.0 - c3 * b)
    degrees = 4.0 + (size + 2.0) / (ratio - 1.0)
    scale = degrees * by_mean / (degrees - 2.0)
    matches = degrees > 4.0 or (
        degrees > 2.0 and 1.0 / _APART < by_mean / by_variance < _APART and scale < _LARGEST_SCALE
    )
    return (degrees, scale) if matches else _NO_MATCH


def _spread(basis: TestBasis, rows: FloatArray) -> tuple[float, float]:
    """Kenward and Roger's A_1 and A_2 for independent rows."""
    gradient, covariance = derivatives_of(basis)
    # L' (L Phi L')^-1 L dPhi_k, for each k: rows with covariance I say the same.
    unit = orthonormal_rows(basis.phi, rows)
    inner = unit @ gradient @ unit.T
    traces = np.einsum("kii->k", inner)
    return float(traces @ covariance @ traces), float(
        np.einsum("ij,iab,jba->", covariance, inner, inner)
    )
