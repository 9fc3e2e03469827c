"""Which factor of the fixed part is absorbed."""

from __future__ import annotations

from mlmfast.design.absorbed.factor import AbsorbedFactor
from mlmfast.design.columns.model_matrix import ModelMatrix
from mlmfast.errors import ModelError

#: Levels from which on a factor of the fixed part is absorbed, unless `absorb` says otherwise.
MANY_LEVELS = 300


def absorbed_from(absorb: bool | None, plain: bool) -> int | None:
    """Levels from which on a factor is absorbed; None where none shall be.

    Parameters
    ----------
    absorb : what the user asked for; None for the default.
    plain : whether residuals are independent and the levels of grouping factors unrelated.

    Raises
    ------
    ModelError
        Where it is asked for and the model does not allow it.

    Examples
    --------
    >>> absorbed_from(None, True), absorbed_from(True, True), absorbed_from(None, False)
    (300, 2, None)
    """
    if absorb is not None and not isinstance(absorb, bool):
        raise ModelError(
            f"absorb is {absorb!r}; use True (eliminate the factor of most levels in the fixed "
            "part), False, or None to let its number of levels decide"
        )
    if absorb and not plain:
        raise ModelError(
            "absorb=True goes with independent residuals and unrelated levels of grouping factors; "
            "leave out absorb=, or residual=, residual_scale= and cov="
        )
    if absorb is None:
        return MANY_LEVELS if plain else None
    return 2 if absorb else None


def no_absorbed_factor() -> ModelError:
    """The complaint that no factor can be absorbed."""
    return ModelError(
        "absorb=True needs a factor that stands in one term of the fixed part, by itself, coded by "
        "treatment contrasts; leave it out, or take interactions and other contrasts apart"
    )


def absorbed_factor(fixed: ModelMatrix) -> AbsorbedFactor | None:
    """The factor whose columns a model matrix lacks."""
    found = fixed.absorbed
    if found is None:
        return None
    return AbsorbedFactor(
        str(fixed.spec.absorbed),
        found.factor.codes,
        found.factor.levels,
        found.names,
        found.first,
        found.by_contrasts,
        found.intercept,
        found.term,
    )
