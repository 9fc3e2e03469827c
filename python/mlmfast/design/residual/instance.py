"""A structure of residuals over so many visits or points, as its call in the formula says."""

from __future__ import annotations

from mlmfast.arrays import FloatArray
from mlmfast.covariance import CovarianceStructure
from mlmfast.errors import FormulaError, ModelError
from mlmfast.formula.residual_formula import ResidualFormula, StructureCall

#: Smoothness at which `sp_matern` is fitted.
MATERN_SMOOTHNESS = 1.5


def instance(
    call: StructureCall,
    kind: type[CovarianceStructure],
    size: int,
    formula: ResidualFormula,
    *,
    points: FloatArray | None = None,
    matrices: FloatArray | None = None,
    places: tuple[int, ...] | None = None,
) -> CovarianceStructure:
    """The structure over ``size`` visits or points."""
    if size < max(2, kind.minimum_size) and not kind.independent:
        raise ModelError(
            f"residual={formula.text!r} finds {size} distinct visit(s) in "
            f"{', '.join(call.coordinates)}; the structure needs at least "
            f"{max(2, kind.minimum_size)}"
        )
    arguments: dict[str, object] = {} if points is None else {"coordinates": points}
    if matrices is not None:
        arguments["matrices"] = matrices
    if places is not None:
        arguments["places"] = places
    if call.number is not None and kind.option is not None:
        arguments[kind.option] = _whole(call, formula) if kind.option == "order" else call.number
    elif kind.option == "nu" and not call.free:
        # Data seldom tell the smoothness; left free it drives the iteration to its limits.
        arguments["nu"] = MATERN_SMOOTHNESS
    own = kind(size, **arguments)
    if not own.is_regular:
        raise ModelError(
            f"residual={formula.text!r}: with fewer factors than the {size} visits R is singular; "
            f"write fa({', '.join(call.coordinates)} | ...) for variances of their own too, or the "
            f"term as random effects, {call.keyword}(0 + ... | subject, {call.number:g})"
        )
    return own


def _whole(call: StructureCall, formula: ResidualFormula) -> int:
    assert call.number is not None
    if call.number != round(call.number):
        raise FormulaError(
            f"residual={formula.text!r}: {call.keyword} takes a whole number, found {call.number:g}"
        )
    return int(call.number)
