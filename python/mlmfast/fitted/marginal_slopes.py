"""How the variance of a new response moves with the covariance parameters, without any rows."""

from __future__ import annotations

from dataclasses import dataclass

from mlmfast.arrays import FloatArray


@dataclass(frozen=True)
class MarginalSlopes:
    """Derivatives of x'Phi x + m'G m + the residual's variance by r covariance parameters.

    What a saved fit keeps of them, for intervals of new responses.

    Attributes
    ----------
    method : name of the method of degrees of freedom.
    covariance : shape (r, r), of the parameters.
    phi : shape (r, rank, rank), derivatives of Phi.
    effects : by random-effects term the derivatives of G, (r, q, q).
    noise, noise_slopes : shapes (k,), (k, r), residual variances of rows at weight 1 and theirs.
    """

    method: str
    covariance: FloatArray
    phi: FloatArray
    effects: tuple[FloatArray, ...]
    noise: FloatArray
    noise_slopes: FloatArray
