"""What responses are drawn from: parameters by the names that a fit of them would report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray, block_diagonal
from mlmfast.design.design import Design
from mlmfast.design.factors.frame_by_group import FrameByGroup
from mlmfast.design.factors.names import known_group
from mlmfast.design.residual.record import ResidualRecord, ScaleRecord
from mlmfast.errors import ModelError
from mlmfast.words import did_you_mean


@dataclass(frozen=True)
class Truth:
    """Parameters of a model.

    Attributes
    ----------
    beta : shape (p,), of all columns of X; 0 for one that depends on others.
    covariances
        G of each random-effects term, (q, q).
    sigma2
        Residual variance at weight 1 and scale 1; NaN where visits have variances of their own.
    residual, residual_scale
        As in a fit's record; None where there is none.
    """

    beta: FloatArray
    covariances: tuple[FloatArray, ...]
    sigma2: float
    residual: ResidualRecord | None = None
    residual_scale: ScaleRecord | None = None


def fixed_effects(names: tuple[str, ...], given: Any) -> FloatArray:
    """Fixed effects by name, 0 where none is given; or an array of all, shape (p,).

    Raises
    ------
    ModelError

    Examples
    --------
    >>> fixed_effects(("(Intercept)", "Days"), {"Days": 10})
    array([ 0., 10.])
    """
    if given is None:
        return np.zeros(len(names))
    if isinstance(given, pd.Series):
        given = given.to_dict()
    if isinstance(given, Mapping):
        out = np.zeros(len(names))
        for name, value in given.items():
            out[position(name, names, "params", "fixed effect")] = number(value, str(name))
        return out
    try:
        values = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.shape != (len(names),) or not np.isfinite(values).all():
        raise ModelError(
            f"params is {given!r}; give a dict of the fixed effects by name, or one finite number "
            f"for each of {', '.join(names)}"
        )
    return values.copy()


def covariances(design: Design, given: Any) -> tuple[FloatArray, ...]:
    """G of each term, from covariances by grouping factor.

    Parameters
    ----------
    given
        By grouping factor: a matrix over its effects, terms stacked; their variances; one variance
        where there is one effect; or ``{"sd": ..., "cor": ...}``, ``cor`` one number or a matrix.

    Raises
    ------
    ModelError
        For a grouping factor that is not in the model or is left out, and a matrix that is no
        covariance matrix, or not one of the term's structure.
    """
    by_factor: dict[int, list[int]] = {}
    for t, term in enumerate(design.random):
        by_factor.setdefault(term.factor, []).append(t)
    groups = {design.factors[f].name: terms for f, terms in by_factor.items()}
    given = {} if given is None else given
    if not isinstance(given, Mapping | FrameByGroup):
        raise ModelError(
            f"varcorr is {given!r}; give a dict from grouping factors to covariance matrices, such "
            "as {'Subject': [[600, 0], [0, 35]]}"
        )
    found = {}
    for name, value in given.items():
        group = known_group(str(name), groups)
        if group is None:
            position(name, tuple(groups), "varcorr", "grouping factor")
        assert group is not None, "it was found"
        found[group] = value
    out: list[FloatArray] = [np.empty(0)] * len(design.random)
    for group, terms in groups.items():
        effects = [name for t in terms for name in design.random[t].names]
        if group not in found:
            raise ModelError(
                f"varcorr has no covariance of {group!r}; its random effects are "
                f"{', '.join(effects)}"
            )
        whole = covariance_matrix(group, found[group], effects)
        for t, block in zip(terms, _blocks(design, terms, whole, group), strict=True):
            out[t] = block
    return tuple(out)


def _blocks(design: Design, terms: list[int], whole: FloatArray, group: str) -> list[FloatArray]:
    """The blocks of the terms of one grouping factor."""
    blocks, at = [], 0
    for t in terms:
        size = len(design.random[t].names)
        blocks.append(whole[at : at + size, at : at + size].copy())
        at += size
    if (np.abs(whole - block_diagonal(blocks)) > 0).any():
        texts = ", ".join(design.random[t].text for t in terms)
        raise ModelError(
            f"varcorr of {group!r} has covariances between effects of the terms {texts}, which the "
            "formula makes independent; set them to 0, or write one term"
        )
    for t, block in zip(terms, blocks, strict=True):
        check_member(design.random[t].structure, block, design.random[t].text or group)
    return blocks


def variance_of_icc(design: Design, icc: Any, sigma2: float) -> dict[str, float]:
    """The variance of the one random intercept whose share of the total is ``icc``.

    Raises
    ------
    ModelError
        Where there is another random effect, or a share outside 0 to 1.
    """
    share = number(icc, "icc")
    if not 0.0 <= share < 1.0:
        raise ModelError(f"icc is {icc!r}; it is a share from 0 to below 1")
    random = design.random
    single = (
        len(random) == 1 and len(random[0].columns) == 1 and _is_indicator(random[0].columns[0])
    )
    if not single or np.isnan(sigma2) or design.residual is not None:
        raise ModelError(
            "icc goes with one random intercept and independent residuals, (1 | g); give varcorr"
        )
    return {design.factors[random[0].factor].name: share / (1.0 - share) * sigma2}


def _is_indicator(column: FloatArray | None) -> bool:
    return column is None or bool(np.isin(column, (0.0, 1.0)).all())


def check_member(structure: Any, matrix: FloatArray, text: str) -> None:
    """Refuse a covariance matrix that the structure of its term does not have."""
    if structure.mixes or not matrix.any():
        return
    lower = np.zeros(matrix.shape, dtype=np.bool_)
    rows, columns = np.array(structure.entries, dtype=np.intp).T
    lower[rows, columns] = lower[columns, rows] = True
    wrong = bool((matrix[~lower] != 0).any())
    if not wrong and np.linalg.eigvalsh(matrix)[0] > 1e-8 * np.abs(matrix).max():
        near = structure.matrix(structure.theta(matrix[None]))[0]
        wrong = bool(np.abs(near - matrix).max() > 1e-6 * np.abs(matrix).max())
    if wrong:
        raise ModelError(
            f"the covariance matrix of {text} is {matrix.tolist()}, which is none of the structure "
            f"{structure.keyword!r} ({structure.formula})"
        )


def covariance_matrix(group: str, given: Any, effects: list[str]) -> FloatArray:
    """A covariance matrix over named effects.

    Examples
    --------
    >>> covariance_matrix("g", {"sd": [2, 3], "cor": 0.5}, ["(Intercept)", "x"])
    array([[4., 3.],
           [3., 9.]])
    """
    q = len(effects)
    if isinstance(given, Mapping):
        matrix = _from_correlations(group, given, effects)
    else:
        if isinstance(given, pd.DataFrame):
            given = _in_order(group, given, effects)
        try:
            matrix = np.asarray(given, dtype=np.float64)
        except (TypeError, ValueError):
            matrix = np.full(1, np.nan)
        if matrix.ndim == 0 and q == 1:
            matrix = matrix.reshape(1, 1)
        elif matrix.shape == (q,):
            matrix = np.diag(matrix)
    if matrix.shape != (q, q) or not np.isfinite(matrix).all():
        raise ModelError(
            f"varcorr of {group!r} is {given!r}; its random effects ({', '.join(effects)}) take "
            f"finite numbers of shape ({q}, {q}), their variances, or "
            "{'sd': [...], 'cor': ...}"
        )
    return _checked(group, matrix)


def _checked(group: str, matrix: FloatArray) -> FloatArray:
    size = float(np.abs(matrix).max(initial=0.0))
    if (np.abs(matrix - matrix.T) > 1e-10 * size).any():
        raise ModelError(f"varcorr of {group!r} is not symmetric: {matrix.tolist()}")
    matrix = (matrix + matrix.T) / 2.0
    smallest = float(np.linalg.eigvalsh(matrix)[0]) if matrix.size else 0.0
    if smallest < -1e-10 * size:
        raise ModelError(
            f"varcorr of {group!r} is no covariance matrix: its smallest eigenvalue is "
            f"{smallest:.6g}, and none may be negative (a covariance exceeds what its two "
            "variances allow, or a variance is negative)"
        )
    return np.asarray(matrix)


def _from_correlations(group: str, given: Mapping[str, Any], effects: list[str]) -> FloatArray:
    unknown = [key for key in given if key not in ("sd", "cor")]
    if unknown or "sd" not in given:
        raise ModelError(f"varcorr of {group!r} is {dict(given)!r}; as a dict it has 'sd' and "
                         "'cor'")  # fmt: skip
    q = len(effects)
    try:
        sd = np.atleast_1d(np.asarray(given["sd"], dtype=np.float64))
        cor = np.asarray(given.get("cor", 0.0), dtype=np.float64)
    except (TypeError, ValueError):
        sd, cor = np.empty(0), np.empty(0)
    if sd.shape != (q,) or not (sd >= 0).all():
        raise ModelError(
            f"'sd' of {group!r} is {given['sd']!r}; {q} standard deviations are needed, of "
            f"{', '.join(effects)}"
        )
    if cor.ndim == 0:
        cor = np.where(np.eye(q, dtype=np.bool_), 1.0, cor)
    if cor.shape != (q, q) or not (np.abs(cor) <= 1.0).all() or (np.diag(cor) != 1.0).any():
        raise ModelError(
            f"'cor' of {group!r} is {given.get('cor')!r}; give one correlation from -1 to 1, or a "
            f"({q}, {q}) matrix of them with ones on its diagonal"
        )
    return np.asarray(cor * np.outer(sd, sd))


def _in_order(group: str, frame: pd.DataFrame, effects: list[str]) -> FloatArray:
    labels = [str(name) for name in frame.index]
    if labels != [str(name) for name in frame.columns] or sorted(labels) != sorted(effects):
        raise ModelError(
            f"varcorr of {group!r} is a frame over {', '.join(labels)}; its random effects are "
            f"{', '.join(effects)}"
        )
    order = [labels.index(effect) for effect in effects]
    return np.asarray(frame.to_numpy(dtype=np.float64)[np.ix_(order, order)])


def position(name: Any, known: tuple[str, ...], role: str, what: str) -> int:
    """Position of a name.

    Raises
    ------
    ModelError
        The nearest name is suggested.

    Examples
    --------
    >>> position("days", ("(Intercept)", "Days"), "params", "fixed effect")
    Traceback (most recent call last):
    ...
    mlmfast.errors.ModelError: params: 'days' is no fixed effect of this model; did you mean
    'Days'? (there are (Intercept), Days)
    """
    if name in known:
        return known.index(name)
    hint = did_you_mean(name, known)
    there = ", ".join(known[:30]) or "none"
    raise ModelError(f"{role}: {name!r} is no {what} of this model{hint} (there are {there})")


def number(value: Any, name: str, *, positive: bool = False) -> float:
    """A finite number.

    Raises
    ------
    ModelError
    """
    try:
        out = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        out = float("nan")
    if not np.isfinite(out) or (positive and not out > 0):
        kind = "positive" if positive else "finite"
        raise ModelError(f"{name!r} is {value!r}; a {kind} number is needed")
    return out
