"""The true covariance of the residuals, from parameters by the names that a fit reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.covariance.units import natural_in_units
from mlmfast.design.design import Design
from mlmfast.design.residual.design import ResidualDesign
from mlmfast.design.residual.record import ResidualRecord, ScaleRecord
from mlmfast.errors import ModelError
from mlmfast.simulation.truth.parameters import (
    Truth,
    check_member,
    covariance_matrix,
    number,
    position,
)


def residual_truth(
    design: Design, sigma: Any, given: Any
) -> tuple[float, ResidualRecord | None, ScaleRecord | None]:
    """Residual variance, covariance and scale of a design.

    Parameters
    ----------
    sigma
        Residual standard deviation; None where ``given`` has all there is to say.
    given
        Parameters by name, as `LMMResult.residual_parameters` names them, or the covariance matrix
        over the visits.

    Raises
    ------
    ModelError
        For names that are none, parameters left out, or values that give no covariance.
    """
    sigma = None if sigma is None else number(sigma, "sigma", positive=True)
    residual = design.residual
    if residual is None:
        if given is not None:
            raise ModelError(
                "residual_parameters are those of a residual structure or scale, and the design "
                "has none; give sigma alone, or residual='ar1(visit | subject)'"
            )
        if sigma is None:
            raise ModelError("sigma, the residual standard deviation, is not given")
        return sigma**2, None, None
    if isinstance(given, Mapping | pd.Series) or given is None:
        values = dict({} if given is None else given.items())
    else:
        values = _of_matrix(residual, given)
    scale, values = _scale(residual, values)
    if residual.formula is None:
        if sigma is None:
            raise ModelError("sigma, the residual standard deviation at scale 1, is not given")
        _check_all_known(values, ())
        return sigma**2, None, scale
    return np.nan, _structure(residual, sigma, values), scale


def _structure(
    residual: ResidualDesign, sigma: float | None, values: dict[str, Any]
) -> ResidualRecord:
    names = parameter_names(residual)
    _check_all_known(values, names)
    own = residual.structure.parameter_names
    shared = own[0] == "Variance"
    natural = np.full((len(residual.arms), len(own)), np.nan)
    flat = natural.reshape(-1)
    for k, name in enumerate(names):
        if name in values:
            flat[k] = number(values[name], name)
        elif shared and sigma is not None and k % len(own) == 0:
            flat[k] = sigma**2
    if shared and sigma is not None and any(n in values for n in names[:: len(own)]):
        raise ModelError("give sigma or 'Variance' among residual_parameters, not both")
    if not shared and sigma is not None:
        raise ModelError(
            f"sigma is given, and {residual.text} has variances of its own: {', '.join(names)}"
        )
    lacking = [name for name, value in zip(names, flat.tolist(), strict=True) if value != value]
    if lacking:
        raise ModelError(
            f"{residual.text} needs residual_parameters {', '.join(map(repr, lacking))}"
            + (" (sigma gives the variance)" if shared and sigma is None else "")
        )
    return record_of(residual, natural)


def record_of(residual: ResidualDesign, natural: FloatArray) -> ResidualRecord:
    """The record of a residual covariance with natural parameters (n_arms, n_theta).

    Raises
    ------
    ModelError
        Where they give no covariance matrix.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        theta = residual.structure.from_natural(natural)
        again = residual.structure.natural(theta)
    close = np.abs(again - natural) <= 1e-8 * np.abs(natural).max(initial=1e-300)
    if not np.isfinite(theta).all() or not close.all():
        pairs = zip(parameter_names(residual), natural.reshape(-1).tolist(), strict=True)
        raise ModelError(
            f"{', '.join(f'{name} = {value:g}' for name, value in pairs)} give no covariance of "
            f"{residual.text}"
        )
    structure, by_visits = residual.structure, residual.points is None
    return residual.record(
        parameter_names(residual),
        list(natural_in_units(structure, theta, 1.0)),
        [structure.matrix(row[None])[0] if by_visits else np.empty((0, 0)) for row in theta],
    )


def parameter_names(residual: ResidualDesign) -> tuple[str, ...]:
    """Names of the parameters of the structure, one arm after the other."""
    prefixes = [f"{arm}: " for arm in residual.arms] if len(residual.arms) > 1 else [""]
    return tuple(p + name for p in prefixes for name in residual.structure.parameter_names)


def _of_matrix(residual: ResidualDesign, given: Any) -> dict[str, Any]:
    """Parameters of a covariance matrix over the visits."""
    if residual.formula is None or residual.points is not None or len(residual.arms) > 1:
        raise ModelError("residual_parameters is a dict of parameters by name here")
    visits = list(residual.visits)
    matrix = covariance_matrix("residual_parameters", given, visits)
    check_member(residual.structure, matrix, residual.text)
    if not np.linalg.eigvalsh(matrix)[0] > 0:
        raise ModelError("the covariance matrix of the residuals is singular")
    natural = residual.structure.natural(residual.structure.theta(matrix[None]))[0]
    near = residual.structure.matrix(residual.structure.from_natural(natural[None]))[0]
    if np.abs(near - matrix).max() > 1e-6 * np.abs(matrix).max():
        raise ModelError(f"the covariance matrix given is none of {residual.text}")
    return dict(zip(residual.structure.parameter_names, natural.tolist(), strict=True))


def _scale(
    residual: ResidualDesign, values: dict[str, Any]
) -> tuple[ScaleRecord | None, dict[str, Any]]:
    """The scale, and the parameters that are left."""
    if residual.scale is None:
        return None, values
    scale, left = residual.scale, dict(values)
    lacking = [name for name in scale.names if name not in left]
    if lacking:
        known = (*parameter_names(residual), *scale.names)
        for name in left:
            position(name, known, "residual_parameters", "parameter")
        raise ModelError(
            f"residual_scale={scale.formula.text!r} needs residual_parameters "
            f"{', '.join(map(repr, lacking))}"
        )
    found = np.array([number(left.pop(name), name) for name in scale.names])
    # Refuses what is no scale.
    scale.log_scale.from_natural(found[None])
    return ScaleRecord(scale.formula.text, scale.names, scale.is_ratio, found, scale.levels), left


def _check_all_known(values: dict[str, Any], names: tuple[str, ...]) -> None:
    for name in values:
        position(name, names, "residual_parameters", "parameter")


def truth_of_rows(truth: Truth, old: Design, new: Design) -> Truth:
    """The truth where rows, and so perhaps visits, are others.

    Raises
    ------
    ModelError
        Where the parameters of the residual covariance belong to visits that were not there.
    """
    record = truth.residual
    if record is None or old.residual is None or new.residual is None:
        return truth
    if new.residual.arms != old.residual.arms:
        raise ModelError(
            f"{old.residual.text} has parameters for {', '.join(old.residual.arms)}, and these "
            f"rows are of {', '.join(new.residual.arms)}"
        )
    if new.residual.visits == old.residual.visits:
        return replace(truth, residual=replace(record, n_subjects=new.residual.subject.n_levels))
    return replace(truth, residual=record_of(new.residual, _natural(record, old, new)))


def _natural(record: ResidualRecord, old: Design, new: Design) -> FloatArray:
    """Natural parameters over other visits, (n_arms, n_theta)."""
    assert old.residual is not None
    assert new.residual is not None
    visits, structure = old.residual.visits, new.residual.structure
    if new.residual.visits and set(new.residual.visits) <= set(visits):
        own = [visits.index(visit) for visit in new.residual.visits]
        matrices = record.covariances[:, own][:, :, own]
        theta = structure.theta(matrices)
        if np.abs(structure.matrix(theta) - matrices).max() <= 1e-6 * np.abs(matrices).max():
            return structure.natural(theta)
    shared = structure.parameter_names == old.residual.structure.parameter_names
    if not shared or structure.parameter_names[0] != "Variance":
        raise ModelError(
            f"{new.residual.text} has parameters for {', '.join(visits) or 'its times'}, and these "
            f"rows have {', '.join(new.residual.visits[:20]) or 'others'}"
        )
    return np.asarray(record.parameters.reshape(len(new.residual.arms), -1))
