"""Single parameters of a design set by the names that fits give them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.design.residual.scale import is_positive, parse_scale
from mlmfast.errors import ModelError
from mlmfast.simulation.true_model import AnyModel, TrueModel
from mlmfast.simulation.truth.parameters import check_member, covariance_matrix, number, position
from mlmfast.simulation.truth.residual import parameter_names, record_of

#: What a name of a random effect's parameter begins with, and how many effects it is of.
_KINDS = {"sd": 1, "var": 1, "cor": 2, "cov": 2}


def known_parameters(design: TrueModel) -> dict[str, tuple[Any, ...]]:
    """Parameters by name, with where they stand."""
    out: dict[str, tuple[Any, ...]] = {}
    for j, name in enumerate(design.param_names):
        out[name] = ("beta", j)
    for t, term in enumerate(design.design.random):
        group = design.design.factors[term.factor].name
        for a, effect in enumerate(term.names):
            for kind in ("sd", "var"):
                out[f"{kind}_{effect}|{group}"] = (kind, t, a, a)
            for b in range(a):
                for kind in ("cor", "cov"):
                    out[f"{kind}_{effect}.{term.names[b]}|{group}"] = (kind, t, a, b)
                    out[f"{kind}_{term.names[b]}.{effect}|{group}"] = (kind, t, a, b)
    residual = design.design.residual
    if (
        residual is None
        or residual.formula is None
        or residual.structure.parameter_names[0] == ("Variance")
    ):
        out["sigma"], out["Residual"] = ("sigma", 1.0), ("sigma", 0.5)
    if residual is not None and residual.formula is not None:
        for k, name in enumerate(parameter_names(residual)):
            out[name] = ("residual", k)
    if residual is not None and residual.scale is not None:
        for k, name in enumerate(residual.scale.names):
            out[name] = ("scale", k)
    return out


def with_parameters(design: AnyModel, values: Mapping[str, Any]) -> AnyModel:
    """The design with some parameters set.

    Standard deviations are set first, so that correlations are of the new ones.

    Raises
    ------
    ModelError
        For a name that the model does not have (the nearest is suggested), and values that give no
        covariance matrix.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> d = mlm.design("y ~ x + (x | g)", levels={"g": 5, "x": range(4)},
    ...                varcorr={"g": [4, 1]}, sigma=1)
    >>> with_parameters(d, {"cor_x.(Intercept)|g": 0.5}).varcorr["g"]
                 (Intercept)    x
    (Intercept)          4.0  1.0
    x                    1.0  1.0
    """
    if not values:
        return design
    if not isinstance(values, Mapping):
        raise ModelError(f"set is {values!r}; give a dict of parameters by name: {{'x': 0.5}}")
    known = known_parameters(design)
    found = []
    for name, value in values.items():
        position(name, tuple(known), "set", "parameter")
        found.append((known[name], number(value, str(name)), str(name)))
    places = [place for where, _, _ in found for place in _places(design, where)]
    if len(set(places)) < len(places):
        raise ModelError(f"set has one parameter twice: {', '.join(name for _, _, name in found)}")
    found.sort(key=lambda item: item[0][0] in ("cor", "cov"))
    out = design
    for where, value, name in found:
        out = _set(out, where, value, name)
    return _checked(out, {where[1] for where, _, _ in found if where[0] in _KINDS})


def _places(design: TrueModel, where: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """What a name sets, be it a variance or its root, in one arm or in all."""
    if where[0] in _KINDS:
        return [where[1:]]
    residual = design.design.residual
    if where[0] != "sigma":
        return [where]
    if residual is None or residual.formula is None:
        return [("sigma",)]
    own = len(parameter_names(residual)) // len(residual.arms)
    return [("residual", arm * own) for arm in range(len(residual.arms))]


def _set(design: AnyModel, where: tuple[Any, ...], value: float, name: str) -> AnyModel:
    truth = design.truth
    if where[0] == "beta":
        beta = truth.beta.copy()
        beta[where[1]] = value
        return replace(design, truth=replace(truth, beta=beta))
    if where[0] in _KINDS:
        matrices = list(truth.covariances)
        matrices[where[1]] = _moved(matrices[where[1]], where, value, name)
        return replace(design, truth=replace(truth, covariances=tuple(matrices)))
    if where[0] == "scale":
        assert truth.residual_scale is not None, "it has the name"
        scale = truth.residual_scale.parameters.copy()
        positive = is_positive(parse_scale(truth.residual_scale.text), truth.residual_scale.levels)
        scale[where[1]] = number(value, name, positive=positive[where[1]])
        record = replace(truth.residual_scale, parameters=scale)
        return replace(design, truth=replace(truth, residual_scale=record))
    if where[0] == "sigma":
        variance = number(value, name, positive=True) ** (2.0 * where[1])
        if truth.residual is None:
            return replace(design, truth=replace(truth, sigma2=variance))
        return _with_residual(design, 0, variance, every_arm=True)
    return _with_residual(design, where[1], value)


def _with_residual(design: AnyModel, k: int, value: float, *, every_arm: bool = False) -> AnyModel:
    residual, record = design.design.residual, design.truth.residual
    assert residual is not None
    assert record is not None
    natural = record.parameters.reshape(len(residual.arms), -1).copy()
    if every_arm:
        natural[:, k] = value
    else:
        natural.reshape(-1)[k] = value
    truth = replace(design.truth, sigma2=np.nan, residual=record_of(residual, natural))
    return replace(design, truth=truth)


def _moved(matrix: FloatArray, where: tuple[Any, ...], value: float, name: str) -> FloatArray:
    """A covariance matrix with one of its parameters set, correlations kept."""
    kind, _, a, b = where
    out = matrix.copy()
    if kind in ("sd", "var"):
        if value < 0:
            raise ModelError(f"{name!r} is {value:g}; it may not be negative")
        sd, before = (value if kind == "sd" else np.sqrt(value)), np.sqrt(matrix[a, a])
        ratio = sd / before if before > 0 else 0.0
        out[a] *= ratio
        out[:, a] *= ratio
        out[a, a] = sd**2
        return out
    if kind == "cor" and not -1.0 <= value <= 1.0:
        raise ModelError(f"{name!r} is {value:g}; a correlation lies between -1 and 1")
    product = np.sqrt(matrix[a, a] * matrix[b, b])
    out[a, b] = out[b, a] = value * product if kind == "cor" else value
    return out


def _checked(design: AnyModel, terms: set[int]) -> AnyModel:
    """Refuse what is no covariance matrix, or none of the term's structure."""
    for t in sorted(terms):
        term = design.design.random[t]
        group = design.design.factors[term.factor].name
        covariance_matrix(group, design.truth.covariances[t], list(term.names))
        check_member(term.structure, design.truth.covariances[t], term.text or group)
    return design
