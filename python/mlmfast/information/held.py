"""Information about the covariance parameters of a fit that holds some of them.

What is held is known: it has no variance, and the others vary on the surface where it keeps its
value. Their covariance is N (N'(J - 1/2 sum_i lambda_i C_i) N)^-1 N', with J the information by the
coordinates of `CovarianceFunctions`, C_i and lambda_i the Hessians and multipliers of what is held,
and N a basis of the directions that leave it as it is (see `mlmfast.criterion.constrained`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance.jet import Jet
from mlmfast.criterion.parameters.functions import CovarianceFunctions
from mlmfast.criterion.scaled import ScaledCriterion
from mlmfast.errors import ModelError
from mlmfast.fitting.parms.held_parameters import HeldParameters
from mlmfast.information.information import Information, invert_information, left_out_of


@dataclass(frozen=True)
class HeldInformation(Information):
    """`Information` whose covariances leave what is held as it is."""

    held: HeldParameters

    def untold_moves(self, information: str) -> FloatArray:
        """See `Information.untold_moves`: what is held does not move."""
        slopes = self._slopes()
        matrix, basis = self._reduced(information, slopes)
        return np.asarray(slopes @ basis @ left_out_of(matrix))

    def _inverse(self, information: str) -> tuple[FloatArray, int]:
        if information not in self._inverses:
            slopes = self._slopes()
            whole, left_out = self._of_coordinates(information, slopes)
            self._inverses[information] = slopes @ whole @ slopes.T, left_out
        return self._inverses[information]

    @property
    def _functions(self) -> CovarianceFunctions:
        return CovarianceFunctions(self.model, self.criterion)

    @property
    def _point(self) -> FloatArray:
        return self._functions.point_at(self.theta, self.held.log_sigma2)

    def _of_coordinates(self, information: str, slopes: FloatArray) -> tuple[FloatArray, int]:
        matrix, basis = self._reduced(information, slopes)
        inverse, left_out = invert_information(matrix)
        return basis @ inverse @ basis.T, left_out

    def _reduced(self, information: str, slopes: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The information along what leaves what is held as it is, and a basis of that."""
        functions, point = self._functions, self._point
        names = [parameter.name for parameter in functions.parameters]
        positions = [names.index(name) for name in self.held.names]
        jet = functions(point)
        j = jet.first[0, positions]
        q, _ = np.linalg.qr(j.T, mode="complete")
        basis = q[:, len(positions) :]
        if information == "expected":
            # V bends in the coordinates of some residual covariances, but in no parameter's slope.
            matrix = 2.0 * slopes.T @ self.expected @ slopes
        else:
            at = ScaledCriterion(functions)(point, np.array([self.fit]))
            multipliers = np.linalg.lstsq(j.T, at.gradient[0], rcond=None)[0]
            matrix = at.hessian[0] - np.tensordot(multipliers, jet.second[0, positions], axes=1)
        return 0.5 * basis.T @ matrix @ basis, basis

    def _slopes(self) -> FloatArray:
        """Derivatives of the free parameters, in the blocks' order, by the coordinates."""
        jet = self._functions(self._point)
        blocks = self.parameters.blocks
        rows = [
            self._slope(jet, name, float(value))
            for block in blocks
            for name, value in zip(block.names, block.values, strict=True)
        ]
        natural, out, first = np.array(rows), [], 0
        for block in blocks:
            own = natural[first : first + len(block.names)]
            out.append(np.linalg.pinv(block.by_free) @ own)
            first += len(block.names)
        return np.concatenate(out)

    def _slope(self, jet: Jet, name: str, value: float) -> FloatArray:
        """Derivative of a natural parameter: of a variance through its standard deviation."""
        for position, parameter in enumerate(self._functions.parameters):
            powers = {parameter.name: 1.0, **dict(parameter.aliases)}
            if name in powers:
                # d v / d sd = 2 sd, finite where both are 0.
                rate = 1.0 if powers[name] == 1.0 else 2.0 * np.sqrt(max(value, 0.0))
                return np.asarray(rate * np.nan_to_num(jet.first[0, position]))
        raise ModelError(
            f"the information about {name!r} is not formed while other covariance parameters are "
            "held; use ddf='asymptotic'"
        )


def holding(about: Information, held: HeldParameters) -> HeldInformation:
    """The information with what is held held."""
    return HeldInformation(
        about.model,
        about.criterion,
        about.parameters,
        about.core,
        about.scale,
        about.fit,
        about.theta,
        held,
    )
