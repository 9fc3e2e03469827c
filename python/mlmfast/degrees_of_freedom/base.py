"""What a method of denominator degrees of freedom provides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.degrees_of_freedom.fitted_rows import FittedRows
from mlmfast.errors import ModelError
from mlmfast.information.information import Information

#: Share of a coefficient in a contrast, by standard errors, that is rounding.
_ROUNDING = 1e-9

METHODS: dict[str, type[DegreesOfFreedom]] = {}


@dataclass(frozen=True)
class TestBasis:
    """What tests need of a fit under one method; plain arrays, so that saved fits hold it.

    Attributes
    ----------
    method
        Name of the method.
    vcov : shape (rank, rank), the covariance that standard errors and tests use.
    phi : shape (rank, rank), (X'V^-1 X)^-1.
    gradient : shape (r, rank, rank) or None
        Derivatives of phi by the covariance parameters.
    covariance : shape (r, r) or None
        Covariance of the covariance parameters.
    by_coefficient : shape (rank,) or None
        Degrees of freedom of each coefficient, where the method gives just these.
    note
        What a reader of the tests should know besides; empty for nothing.
    moves : shape (k, rank, rank) or None
        How phi moves with covariances that the data do not determine: functions that it moves
        have no standard error (`mlmfast.information.undetermined_effects`).
    """

    __test__ = False

    method: str
    vcov: FloatArray
    phi: FloatArray
    gradient: FloatArray | None = None
    covariance: FloatArray | None = None
    by_coefficient: FloatArray | None = None
    note: str = ""
    moves: FloatArray | None = None


class DegreesOfFreedom(ABC):
    """A method of denominator degrees of freedom, found by its name in `METHODS`.

    A subclass gives a name, a label and `basis`; tests follow from the basis.
    """

    #: Value of ``ddf=``.
    name: ClassVar[str]
    #: As reports call it.
    label: ClassVar[str]
    #: Can only the rows tell whether it applies? Then a fit tries it at once.
    eager: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        if "name" in cls.__dict__:
            METHODS[cls.name] = cls

    @abstractmethod
    def basis(self, fitted: FittedRows) -> TestBasis:
        """What the method's tests of this fit need.

        Raises
        ------
        ModelError
            Where the method does not apply to the model.
        """

    def tested(self, fitted: FittedRows) -> TestBasis:
        """`basis`, with what the data do not determine of the covariance of the fixed effects."""
        basis = self.basis(fitted)
        return basis if fitted.moves is None else replace(basis, moves=fitted.moves)

    #: Is the method derived for REML alone? Refused with ML, then, with `why_reml`.
    needs_reml: ClassVar[bool] = False
    why_reml: ClassVar[str] = ""

    def check(self, reml: bool) -> None:
        """Refuse what can be told before fitting.

        Raises
        ------
        ModelError
        """
        if self.needs_reml and not reml:
            raise ModelError(f"ddf={self.name!r} needs a REML fit: {self.why_reml}")

    #: Information of the covariance parameters whose inverse the method uses; None for none.
    information: ClassVar[str | None] = None
    #: Does the method adjust standard errors for the covariance parameters' uncertainty?
    adjusts: ClassVar[bool] = False
    #: May fits of a regular model have their tests together, by `stacked_bases`?
    stacks: ClassVar[bool] = False
    #: Those of singular covariances too? Not where it matters how these bend.
    stacks_singular: ClassVar[bool] = True
    #: Why a joint test may have no F, and what remains; empty where it always has one.
    no_joint: ClassVar[str] = ""

    def about(self, fitted: FittedRows) -> Information:
        """The information of the covariance parameters that the method goes by."""
        return fitted.information

    def of_coefficients(self, basis: TestBasis) -> FloatArray:
        """Degrees of freedom of each coefficient, shape (rank,)."""
        return self.of_rows(basis, np.eye(len(basis.phi)))

    def of_rows(self, basis: TestBasis, rows: FloatArray) -> FloatArray:
        """Degrees of freedom of each of m contrasts, rows of shape (m, rank); shape (m,).

        The smallest among the coefficients that a contrast involves.
        """
        assert basis.by_coefficient is not None, "another method's basis"
        # Rounding leaves weights on coefficients that a hypothesis has no part in.
        share = np.abs(rows) * np.sqrt(np.diag(basis.phi))
        involved = share > _ROUNDING * share.max(axis=1, initial=0.0, keepdims=True)
        degrees = np.where(involved, basis.by_coefficient, np.inf).min(axis=1, initial=np.inf)
        return np.asarray(degrees)

    def joint(
        self, basis: TestBasis, rows: FloatArray, difference: FloatArray
    ) -> tuple[float, float]:
        """F and its denominator degrees of freedom for independent rows of contrasts.

        NaN, both, where the method has none for these data (`no_joint`).

        Parameters
        ----------
        basis : what `basis` gave.
        rows : shape (l, rank), linearly independent.
        difference : shape (l,), L beta - rhs.
        """
        return wald(basis.vcov, rows, difference) / len(rows), float(
            self.of_rows(basis, rows).min()
        )

    def joint_of_term(
        self, basis: TestBasis, rows: FloatArray, difference: FloatArray, term: Sequence[int]
    ) -> tuple[float, float]:
        """`joint` of a term's hypothesis, with the degrees of freedom of its own coefficients.

        A hypothesis may involve coefficients of others, whose degrees of freedom are not its own
        (SAS/STAT User's Guide, MODEL statement of PROC MIXED, DDFM=).

        Parameters
        ----------
        basis, rows, difference : as of `joint`.
        term : positions of the term's coefficients among those kept.
        """
        statistic, df = self.joint(basis, rows, difference)
        if basis.by_coefficient is not None:
            df = float(basis.by_coefficient[list(term)].min())
        return statistic, df


class ByCounts(DegreesOfFreedom):
    """A method that goes by the numbers of rows and of coefficients: no rows are needed for it."""

    @property
    def of_all(self) -> float | None:
        """Degrees of freedom of every test whatever is counted; None where they go by counts."""
        return None

    @abstractmethod
    def of_counts(self, n_obs: int, rank: int) -> float:
        """Degrees of freedom of every test, of so many rows and coefficients."""

    @property
    def key(self) -> str:
        """What a test's basis is kept under."""
        return self.name

    def basis(self, fitted: FittedRows) -> TestBasis:
        """Degrees of freedom alone; levels of an absorbed factor are coefficients too."""
        design, rank = fitted.design, len(fitted.beta)
        value = self.of_counts(design.n_observations, rank + design.n_absorbed)
        return TestBasis(
            self.key, fitted.vcov, fitted.vcov, by_coefficient=np.full(rank, float(value))
        )


def wald(vcov: FloatArray, rows: FloatArray, difference: FloatArray) -> float:
    """(L beta - c)'(L V L')^-1 (L beta - c).

    Examples
    --------
    >>> wald(np.diag([4.0, 1.0]), np.eye(2), np.array([2.0, 3.0]))
    10.0
    """
    scale, upper = _whitened(vcov, rows)
    half = np.linalg.solve(upper.T, difference / scale)
    return float(half @ half)


def orthonormal_rows(phi: FloatArray, rows: FloatArray) -> FloatArray:
    """Rows that span the same functions, with covariance I where beta has phi.

    Examples
    --------
    >>> orthonormal_rows(np.diag([4.0, 1.0]), np.array([[10.0, 0.0], [1.0, 1.0]])).round(12)
    array([[0.5, 0. ],
           [0. , 1. ]])
    """
    scale, upper = _whitened(phi, rows)
    out = np.linalg.solve(upper.T, rows / scale[:, None])
    return np.asarray(out * np.sign(np.diag(upper))[:, None])


def _whitened(vcov: FloatArray, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Standard error of each row, and R upper triangular with L V L' = S R'R S, S = diag(SE).

    By a QR factorization: L V L' itself would take half the digits where rows nearly depend.
    """
    try:
        half = rows @ np.linalg.cholesky(vcov)
    except np.linalg.LinAlgError:
        raise ModelError(
            "the covariance matrix of the coefficients is not positive definite, so they cannot be "
            "tested together; test single ones, or leave out columns that nearly depend on others"
        ) from None
    scale = np.sqrt((half**2).sum(axis=1))
    return scale, np.asarray(np.linalg.qr((half / scale[:, None]).T, mode="r"))


def no_rows(what: str) -> ModelError:
    """The complaint that a loaded fit lacks the rows.

    Examples
    --------
    >>> print(no_rows("cov_theta()"))
    cov_theta() needs the rows of the data, and a loaded fit holds none; fit the model again
    """
    return ModelError(
        f"{what} needs the rows of the data, and a loaded fit holds none; fit the model again"
    )
