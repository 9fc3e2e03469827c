"""Whether a flat prior leaves a posterior that can be integrated.

As a variance v of random effects grows, the restricted likelihood falls as v^(-r / 2), with r the
dimension of these effects' columns beyond those of X. With a flat prior of m variances and
covariances that grow together their volume grows as v^(m - 1), so that r > 2 m is needed (Hobert
and Casella 1996, JASA 91, 1461). Of an unstructured q x q matrix one eigenvalue may grow alone,
with a volume as v^(q - 1) (the Jacobian of eigenvalues, Muirhead 1982, Theorem 3.2.17), so that
r > 2 q is needed of the effects in one direction. Jeffreys' prior falls as 1 / v and needs no such
thing.
"""

from __future__ import annotations

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.errors import ModelError
from mlmfast.fitted.estimates import estimates_of
from mlmfast.inference.resampling.candidates import Place, diagonal_of, residual_size
from mlmfast.reduction.blocks import structure_of

#: Variances over the residual's between which the fall is taken.
_FAR = (1e7, 1e9)


def check_proper(place: Place) -> None:
    """Refuse a flat prior of variances that too few levels tell.

    Raises
    ------
    ModelError
    """
    about, at = place.about, 0
    for b, block in enumerate(about.parameters.blocks[: len(about.model.order)]):
        own = slice(at, at + len(block.names))
        at += len(block.names)
        if place.held[own].any():
            continue
        scales = [kind in {"variance", "covariance"} for kind in block.kinds]
        if diagonal_of(about, b, 0) is None:
            names = ", ".join(block.names)
            _check(place, b, None, sum(scales), names)
            structure = structure_of(about.criterion.terms[b])
            if len(structure.entries) == structure.size * (structure.size + 1) // 2 == sum(scales):
                _check_direction(place, b, structure.size, names)
            continue
        for k, name in enumerate(block.names):
            _check(place, b, diagonal_of(about, b, k), 1, name)


def _check(place: Place, b: int, places: IntArray | None, m: int, name: str) -> None:
    r = _fall(place, b, places)
    # Near a singular covariance rounding takes the place of the fall.
    if -0.5 < r < 2 * m + 0.5:
        raise _has_no_integral(name, "the random effects", r, 2 * m)


def _check_direction(place: Place, b: int, q: int, names: str) -> None:
    """Refuse effects of which too few levels tell a combination, one in a generic direction."""
    r = _fall(place, b, None, np.cos(np.arange(q)) / np.sqrt(q))
    if -0.5 < r < 2 * q + 0.5:
        raise _has_no_integral(names, "a combination of the random effects", r, 2 * q)


def _has_no_integral(name: str, what: str, r: float, least: int) -> ModelError:
    has = "has" if what.startswith("a ") else "have"
    return ModelError(
        f"with a flat prior the posterior of {name} has no finite integral: {what} {has} "
        f"{max(r, 0.0):.0f} dimensions beyond the fixed ones, and more than {least} are needed; "
        "use prior='jeffreys'"
    )


def _fall(
    place: Place, b: int, places: IntArray | None, direction: FloatArray | None = None
) -> float:
    """r of a term, of the effects whose variances those entries are, or of those in a direction."""
    about, s = place.about, place.about.criterion.theta_slices[b]
    structure = structure_of(about.criterion.terms[b])
    size = 1.0 if about.model.profiled else residual_size(about)
    base = structure.matrix(about.theta[:, s])[0]
    far: list[FloatArray] = []
    for ratio in _FAR:
        matrix = base.copy()
        if direction is not None:
            matrix += ratio * size * np.outer(direction, direction)
        elif places is None:
            matrix *= ratio * size / max(float(np.diag(base).max()), 1e-300)
        else:
            matrix[places, places] = ratio * size
        theta = about.theta[0].copy()
        theta[s] = structure.theta(matrix[None])[0]
        far.append(theta)
    log_sigma2 = np.log(np.full(2, about.scale)) if about.model.profiled else None
    fits = np.full(2, about.fit)
    value = estimates_of(about.model, about.criterion, np.array(far), log_sigma2, fits).deviance
    return float((value[1] - value[0]) / np.log(_FAR[1] / _FAR[0]))
