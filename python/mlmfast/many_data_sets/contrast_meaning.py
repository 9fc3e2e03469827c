"""Whether coefficients of one name are the same function of the levels' means in several fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from mlmfast.design.columns.model_matrix import ModelMatrixSpec
from mlmfast.design.columns.model_variables import FactorVariable

#: Weights of the levels' means in a coefficient.
_Weights: TypeAlias = dict[str, float]
#: Smallest weight that is not rounding.
_ROUNDING = 1e-9


def different_contrasts(specs: Mapping[str, ModelMatrixSpec]) -> list[str]:
    """Say for each factor whose coefficients do not mean the same in all fits.

    Parameters
    ----------
    specs
        How X was built, by the name of the fit.

    Examples
    --------
    >>> from mlmfast.data.frame import Frame
    >>> from mlmfast.design.columns.build_matrix import build_model_matrix
    >>> tables = {"s1": ["a", "b", "c"], "s2": ["b", "c", "c"]}
    >>> specs = {
    ...     name: build_model_matrix("f", Frame.from_native({"f": levels})).spec
    ...     for name, levels in tables.items()
    ... }
    >>> print(different_contrasts(specs)[0])
    the coefficient 'fc' is c - a in fit 's1' and c - b in 's2' (1 of 2 fits differ from the first),
    because levels of 'f' are lacking; give contrasts that need no other level, or compare means
    """
    known: dict[tuple[str, str], tuple[str, _Weights]] = {}
    differing: dict[str, tuple[str, list[str]]] = {}
    cached: dict[tuple[object, ...], dict[str, _Weights]] = {}
    contrasted = next(iter(specs.values())).contrasted if specs else frozenset()
    for fit, spec in specs.items():
        for name in contrasted:
            variable = spec.coded[name]
            if not isinstance(variable, FactorVariable) or variable.coding is None:
                continue
            key = (variable.levels, variable.coding.suffixes, variable.coding.matrix.tobytes())
            if key not in cached:
                cached[key] = _meanings(variable)
            for suffix, weights in cached[key].items():
                first, own = known.setdefault((name, suffix), (fit, weights))
                if _differ(own, weights):
                    text = (
                        f"the coefficient {name + suffix!r} is {_shown(own)} in fit {first!r} and "
                        f"{_shown(weights)} in {fit!r}"
                    )
                    fits = differing.setdefault(name, (text, []))[1]
                    if fit not in fits[-1:]:
                        fits.append(fit)
    return [
        f"{text} ({len(fits)} of {len(specs)} fits differ from the first), because levels of "
        f"{name!r} are lacking; give contrasts that need no other level, or compare means"
        for name, (text, fits) in differing.items()
    ]


def _meanings(variable: FactorVariable) -> dict[str, _Weights]:
    """What each coefficient is, beside an intercept, as weights of the levels' means."""
    assert variable.coding is not None, "the caller looked"
    matrix = variable.coding.matrix
    inverse = np.linalg.pinv(np.column_stack([np.ones(len(matrix)), matrix]))
    return {
        suffix: {
            level: float(weight)
            for level, weight in zip(variable.levels, row, strict=True)
            if abs(weight) > _ROUNDING
        }
        for suffix, row in zip(variable.coding.suffixes, inverse[1:], strict=True)
    }


def _differ(one: _Weights, other: _Weights) -> bool:
    levels = {*one, *other}
    return any(abs(one.get(k, 0.0) - other.get(k, 0.0)) > 1e3 * _ROUNDING for k in levels)


def _shown(weights: _Weights) -> str:
    """A linear function as people write it."""
    text = ""
    for level, weight in sorted(weights.items(), key=lambda item: -item[1]):
        size = "" if abs(abs(weight) - 1.0) < 1e-9 else f"{abs(weight):.3g} "
        sign = " - " if weight < 0 else " + "
        text += f"{sign if text or weight < 0 else ''}{size}{level}"
    return text.strip()
