"""Method: a mixed model as one of the methods of a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from mlmfast.confidence_level import check_level
from mlmfast.degrees_of_freedom import Ddf, ddf_text, method_of
from mlmfast.design.residual.scale import parse_scale
from mlmfast.errors import ModelError
from mlmfast.formula.mixed_formula import parse_formula
from mlmfast.formula.residual_formula import parse_residual
from mlmfast.guessed_arguments import told
from mlmfast.inference.robust.covariance import KINDS
from mlmfast.reduction.engines.options import read_options
from mlmfast.words import is_one_of, read_method


@told()
@dataclass(frozen=True)
class Method:
    """A linear mixed model with its tests, as a method of a study.

    Parameters
    ----------
    formula, method, ddf, residual, residual_scale, weights, offset, contrasts, na_action, options
        As `lmm`; weights and offset are columns of the data.
    robust
        "CR0", "CR1", "CR2" or "CR3" for cluster-robust standard errors with their own Satterthwaite
        degrees of freedom, as `LMMResult.robust`; fits are then tested one by one.
    level
        Coverage of the intervals.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> mlm.Method("y ~ t + (1 | g)", ddf="kenward-roger").method
    'REML'
    """

    formula: str
    method: str = "REML"
    ddf: Ddf = "satterthwaite"
    residual: str | None = None
    residual_scale: str | None = None
    robust: str | None = None
    level: float = 0.95
    weights: str | None = None
    offset: str | None = None
    contrasts: Mapping[str, Any] | None = None
    na_action: str = "drop"
    options: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        parse_formula(self.formula)
        object.__setattr__(self, "method", read_method(self.method))
        method_of(self.ddf).check(self.method == "REML")
        if isinstance(self.ddf, Mapping):
            # JSON has no None for the terms that are not named.
            object.__setattr__(self, "ddf", ddf_text(self.ddf))
        if self.residual is not None:
            parse_residual(self.residual)
        if self.residual_scale is not None:
            parse_scale(self.residual_scale)
        read_options(self.options)
        check_level(self.level)
        if self.robust is not None and not is_one_of(self.robust, KINDS):
            raise ModelError(f"robust is {self.robust!r}; use one of {', '.join(KINDS)}, or None")
        for name in ("weights", "offset"):
            if not isinstance(getattr(self, name), str | None):
                raise ModelError(f"{name} of a study's method must be the name of a column")

    def record(self) -> dict[str, Any]:
        """What was given, as JSON has it."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in ("contrasts", "options"):
            if given[name] is not None:
                given[name] = _text(given[name])
        return {name: value for name, value in given.items() if value is not None}


def _text(given: Any) -> str:
    return repr(sorted(given.items())) if isinstance(given, Mapping) else repr(given)
