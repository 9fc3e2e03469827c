"""Standard errors and degrees of freedom of all coefficients beside an absorbed factor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.degrees_of_freedom import FittedRows, TestBasis, method_of
from mlmfast.degrees_of_freedom.satterthwaite import of_variances
from mlmfast.fitted.absorbed.functions import AllCoefficients, functions_of_coefficients
from mlmfast.fitted.absorbed.record import AbsorbedRecord
from mlmfast.fitted.fitted import Fitted
from mlmfast.fitted.record import FitRecord
from mlmfast.inference.absorbed.degrees import by_coefficient, refuse_by_term
from mlmfast.inference.absorbed.uncertainty import (
    Uncertainty,
    uncertainty,
    undetermined_moves,
)
from mlmfast.running.cached import cached_property

#: Coefficients up to which Kenward and Roger's whole covariance is formed to see that it is one.
LARGEST_CHECKED = 500


@dataclass(frozen=True)
class CoefficientTests:
    """Tests of all coefficients of a fit with an absorbed factor.

    Attributes
    ----------
    fitted, record
        The fit.
    ddf
        Its method of degrees of freedom.
    """

    fitted: FittedRows
    record: FitRecord
    ddf: str

    def check(self, ddf: str) -> None:
        """Refuse methods that do not apply."""
        method = method_of(ddf)
        refuse_by_term(method)
        method.check(self.fitted.reml)
        refuse_by_term(method)
        if method.information is None:
            by_coefficient(self.fitted, self.record, ddf)

    @cached_property
    def _all(self) -> Uncertainty:
        absorbed = self.record.absorbed
        assert absorbed is not None, "made for such fits"
        n = len(absorbed.kept)
        if method_of(self.ddf).adjusts and n <= LARGEST_CHECKED:
            # An adjusted covariance that is none is refused whole, as without elimination.
            self.matrix(np.eye(len(absorbed.x_names))[list(absorbed.kept)], self.ddf)
        return uncertainty(self.fitted, self.ddf, AllCoefficients(self.fitted.model))

    @property
    def variances(self) -> FloatArray:
        """Variances of the coefficients kept, (p,)."""
        return self._all.adjusted

    @cached_property
    def degrees(self) -> FloatArray:
        """Degrees of freedom of the coefficients kept, (p,)."""
        found = self._all
        if found.slopes is None:
            return by_coefficient(self.fitted, self.record, self.ddf)
        return of_variances(found.value, found.slopes.T, np.eye(len(found.slopes)))

    def by_coefficient(self, ddf: str) -> FloatArray:
        """Degrees of freedom of the coefficients kept by a method that has such, (p,)."""
        return by_coefficient(self.fitted, self.record, ddf)

    def matrix(self, L: FloatArray, ddf: str) -> Uncertainty:
        """Covariance of functions L beta, L of shape (m, all columns)."""
        return uncertainty(self.fitted, ddf, functions_of_coefficients(self.fitted.model, L))

    def basis(self, L: FloatArray, ddf: str) -> TestBasis:
        """A basis of tests in which the functions L beta are the coefficients."""
        found = self.matrix(L, ddf)
        moves = self.moves(L)
        if found.slopes is not None:
            r = len(found.slopes)
            return TestBasis(ddf, found.adjusted, found.value, found.slopes, np.eye(r), moves=moves)
        by = by_coefficient(self.fitted, self.record, ddf)
        assert self.record.absorbed is not None, "made for such fits"
        involved = L[:, list(self.record.absorbed.kept)] != 0
        degrees = np.where(involved, by, np.inf).min(axis=1, initial=np.inf)
        return TestBasis(ddf, found.adjusted, found.value, by_coefficient=degrees, moves=moves)

    def moves(self, L: FloatArray) -> FloatArray | None:
        """How the covariance of functions L beta moves with what is not determined, if at all."""
        function = functions_of_coefficients(self.fitted.model, L)
        return undetermined_moves(self.fitted, function)


def levels_of(fit: Fitted) -> AbsorbedRecord:
    """What a fit with an absorbed factor keeps of it."""
    found = fit._record.absorbed
    assert found is not None, "made for such fits"
    return found


def coefficient_tests(fit: Fitted) -> CoefficientTests:
    """The tests of a fit's coefficients, kept by it."""
    rows = fit._rows
    assert rows is not None, "such fits are not stored"
    return fit._once("_coefficient_tests", lambda: CoefficientTests(rows, fit._record, fit.ddf))
