"""FitRecord as JSON-able data and back, every field checked on the way in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.catalogue.entry import Notice
from mlmfast.covariance import STRUCTURES
from mlmfast.design.columns.model_matrix import ModelMatrixSpec
from mlmfast.design.residual.record import ResidualRecord, ScaleRecord
from mlmfast.design.residual.scale import is_positive, parse_scale
from mlmfast.fitted.certificates.certificate import Certificate
from mlmfast.fitted.certificates.monte_carlo import MonteCarloError
from mlmfast.fitted.record import FitRecord, GroupRecord, TermRecord
from mlmfast.fitting.undetermined.record import Combination, UndeterminedRecord
from mlmfast.formula.residual_formula import PRODUCT, parse_residual
from mlmfast.formula.terms import term_list
from mlmfast.words import MOMENTS

_Kind = TypeVar("_Kind")
#: Rounding of a correlation.
_ROUNDING = 1e-6


def record_to_dict(record: FitRecord) -> dict[str, Any]:
    """Return the record as dicts, lists, arrays and numbers."""
    return members(record) | {
        "groups": [members(group) for group in record.groups],
        "terms": [members(term) | {"spec": _spec_to_dict(term.spec)} for term in record.terms],
        "certificate": members(record.certificate),
        "residual": None if record.residual is None else members(record.residual),
        "residual_scale": members(record.residual_scale) if record.residual_scale else None,
        "fixed_spec": _spec_to_dict(record.fixed_spec),
        "notices": [[notice.code, notice.message] for notice in record.notices],
        "monte_carlo": None if record.monte_carlo is None else members(record.monte_carlo),
        "undetermined": None
        if record.undetermined is None
        else {
            **members(record.undetermined),
            "combined": [members(item) for item in record.undetermined.combined],
        },
    }


def record_from_dict(data: Mapping[str, Any]) -> FitRecord:
    """Read what `record_to_dict` wrote.

    Raises
    ------
    KeyError, TypeError, ValueError
        Where a field is missing, of another type, or does not fit the others.
    """
    names = texts(data["x_names"])
    kept = positions(data["kept"], len(names))
    if len(set(names)) < len(names) or list(kept) != sorted(set(kept)):
        raise ValueError("the names or positions of the coefficients repeat")
    groups = tuple(_group(item) for item in typed(data["groups"], list))
    named = all(group.columns or group.has_all_rows for group in groups)
    if data["fixed_spec"] is not None and not named:
        raise ValueError("a grouping factor has no columns")
    terms = tuple(_term(item, len(groups)) for item in typed(data["terms"], list))
    if any((term.spec is None) != (data["fixed_spec"] is None) for term in terms):
        raise ValueError("how the columns are built is kept of some terms alone")
    levels = positions(data["levels"], len(groups))
    known = len(set(levels)) == len(levels) and {term.group for term in terms} <= set(levels)
    if not known or bool(levels) != bool(groups):
        raise ValueError("the order of the grouping factors does not fit them")
    return FitRecord(
        formula=_optional_text(data["formula"]),
        method=_method(data["method"]),
        response=typed(data["response"], str),
        offsets=texts(data["offsets"]),
        weighted=typed(data["weighted"], bool),
        offset_given=typed(data["offset_given"], bool),
        n_obs=typed(data["n_obs"], int),
        n_dropped=typed(data["n_dropped"], int),
        x_names=names,
        terms_of_x=_terms_of_x(data["terms_of_x"]),
        kept=kept,
        beta=array(data["beta"], (len(kept),)),
        vcov=covariance(data["vcov"], len(kept)),
        sigma2=_real(data["sigma2"]),
        residual=_residual(data["residual"]),
        deviance=_real(data["deviance"]),
        n_theta=typed(data["n_theta"], int),
        groups=groups,
        terms=terms,
        levels=levels,
        certificate=_certificate(data["certificate"]),
        converged=typed(data["converged"], bool),
        ddf=typed(data["ddf"], str),
        fixed_spec=_spec(data["fixed_spec"]),
        monte_carlo=_monte_carlo(data.get("monte_carlo"), terms),
        residual_scale=_scale(data.get("residual_scale")),
        undetermined=_undetermined(data.get("undetermined")),
        notices=tuple(map(_notice, typed(data.get("notices", []), list))),
        estimator=_estimator(data.get("estimator", "")),
    )


def typed(value: object, kind: type[_Kind]) -> _Kind:
    """Return the value, which must be of just this type.

    Examples
    --------
    >>> typed(True, int)
    Traceback (most recent call last):
    TypeError: True is not of type int
    """
    if type(value) is not kind:
        raise TypeError(f"{str(value)[:40]} is not of type {kind.__name__}")
    return value


def array(value: object, shape: tuple[int, ...]) -> FloatArray:
    """Nested lists of numbers as an array of a known shape.

    Examples
    --------
    >>> array([[1, 2.5]], (1, 2))
    array([[1. , 2.5]])
    """
    found = np.array(typed(value, list))
    if found.size and found.dtype.kind not in "if":
        raise TypeError("an array holds something that is not a number")
    # Empty lists do not tell the lengths of the other axes.
    if found.shape != shape and (found.size or 0 not in shape):
        raise ValueError(f"an array has shape {found.shape} instead of {shape}")
    return found.astype(np.float64).reshape(shape)


def covariance(value: object, size: int) -> FloatArray:
    """A covariance matrix; one of a fit that failed is NaN throughout.

    Examples
    --------
    >>> covariance([[1.0, 2.0], [2.0, 1.0]], 2)
    Traceback (most recent call last):
    ValueError: a covariance matrix is not symmetric, finite and positive
    """
    matrix = array(value, (size, size))
    if np.isnan(matrix).all():
        return matrix
    sd = np.sqrt(np.maximum(np.diag(matrix), 0.0))
    if np.isfinite(matrix).all() and (sd > 0).all():
        correlation = matrix / np.outer(sd, sd)
        symmetric = np.abs(correlation - correlation.T).max(initial=0.0) < _ROUNDING
        if symmetric and np.linalg.eigvalsh(correlation).min(initial=1.0) > -_ROUNDING:
            return matrix
    raise ValueError("a covariance matrix is not symmetric, finite and positive")


def members(item: object) -> dict[str, Any]:
    """The fields of a dataclass by name, not copied."""
    return {field.name: getattr(item, field.name) for field in fields(item)}  # type: ignore[arg-type]


def _spec_to_dict(spec: ModelMatrixSpec | None) -> dict[str, object] | None:
    return None if spec is None else spec.to_dict()


def _spec(data: Any) -> ModelMatrixSpec | None:
    if data is None:
        return None
    spec = ModelMatrixSpec.from_dict(data)
    if set(term_list(spec.rhs).variable_names) != set(spec.coded):
        raise ValueError(f"the columns of {spec.rhs!r} are not all described")
    return spec


def _residual(data: Any) -> ResidualRecord | None:
    if data is None:
        return None
    visits, arms = texts(data["visits"]), texts(data["arms"])
    names = texts(data["parameter_names"])
    text, structure = typed(data["text"], str), typed(data["structure"], str)
    # Reports read both again.
    words = structure.split(PRODUCT)
    if parse_residual(text).structure != structure or not set(words) <= set(STRUCTURES):
        raise ValueError(f"{text!r} is not a residual covariance of structure {structure!r}")
    if not arms or not names or len(names) % len(arms):
        raise ValueError("the parameters of the residual covariance do not fit its groups")
    return ResidualRecord(
        text=text,
        structure=structure,
        subject=typed(data["subject"], str),
        n_subjects=typed(data["n_subjects"], int),
        visits=visits,
        arms=arms,
        covariances=array(data["covariances"], (len(arms), len(visits), len(visits))),
        parameter_names=names,
        parameters=array(data["parameters"], (len(names),)),
        step=_real(data.get("step", 1.0)),
        unseen=tuple(
            _entry(item, len(arms), len(visits)) for item in typed(data.get("unseen", []), list)
        ),
        unseen_parameters=positions(typed(data.get("unseen_parameters", []), list), len(names)),
        zero_parameters=positions(typed(data.get("zero_parameters", []), list), len(names)),
        zero_variances=tuple(
            _visit(item, len(arms), len(visits))
            for item in typed(data.get("zero_variances", []), list)
        ),
    )


def _scale(data: Any) -> ScaleRecord | None:
    if data is None:
        return None
    text, names = typed(data["text"], str), texts(data["names"])
    levels = tuple(texts(item) for item in typed(data["levels"], list))
    positive = is_positive(parse_scale(text), levels)
    is_ratio = tuple(typed(item, bool) for item in typed(data["is_ratio"], list))
    parameters = array(data["parameters"], (len(names),))
    # A constant that the fit took to 0 in rounding is 0.
    low = np.where(is_ratio, parameters <= 0, parameters < 0)
    if not len(is_ratio) == len(names) == len(positive) or low[np.array(positive)].any():
        raise ValueError(f"the parameters of the residual scale {text!r} do not fit it")
    return ScaleRecord(text, names, is_ratio, parameters, levels)


def _group(data: Mapping[str, Any]) -> GroupRecord:
    return GroupRecord(
        name=typed(data["name"], str),
        columns=texts(data["columns"]),
        labels=texts(data["labels"]),
        related=typed(data.get("related", False), bool),
        n_without_rows=typed(data.get("n_without_rows", 0), int),
    )


def _term(data: Mapping[str, Any], n_groups: int) -> TermRecord:
    names, parameter_names = texts(data["names"]), texts(data["parameter_names"])
    if data["structure"] not in STRUCTURES:
        raise ValueError(f"{data['structure']!r} is no covariance structure")
    return TermRecord(
        group=positions([data["group"]], n_groups)[0],
        names=names,
        structure=typed(data["structure"], str),
        text=typed(data["text"], str),
        covariance=array(data["covariance"], (len(names), len(names))),
        singular=typed(data["singular"], bool),
        spec=_spec(data["spec"]),
        parameter_names=parameter_names,
        parameters=array(data["parameters"], (len(parameter_names),)),
        unseen=tuple(_pair(item, len(names)) for item in typed(data.get("unseen", []), list)),
        bounded=typed(data.get("bounded", True), bool),
    )


def _entry(data: object, n_arms: int, n_visits: int) -> tuple[int, int, int]:
    numbers = typed(data, list)
    (arm,), (a, b) = positions(numbers[:1], n_arms), positions(numbers[1:], n_visits)
    return arm, a, b


def _visit(data: object, n_arms: int, n_visits: int) -> tuple[int, int]:
    numbers = typed(data, list)
    (arm,), (visit,) = positions(numbers[:1], n_arms), positions(numbers[1:], n_visits)
    return arm, visit


def _pair(data: object, n: int) -> tuple[int, int]:
    a, b = positions(data, n)
    return a, b


def _undetermined(data: Any) -> UndeterminedRecord | None:
    if data is None:
        return None
    return UndeterminedRecord(
        n=typed(data["n"], int),
        names=texts(data["names"]),
        unseen=texts(data["unseen"]),
        absorbed=texts(data["absorbed"]),
        groups=tuple(texts(group) for group in typed(data["groups"], list)),
        combined=tuple(_combination(item) for item in typed(data["combined"], list)),
        errors_depend=typed(data["errors_depend"], bool),
        effects=texts(data.get("effects", [])),
        independent=typed(data.get("independent", False), bool),
    )


def _combination(data: Mapping[str, Any]) -> Combination:
    names = texts(data["parameters"])
    return Combination(names, tuple(array(data["weights"], (len(names),)).tolist()))


def _certificate(data: Mapping[str, Any]) -> Certificate:
    return Certificate(
        newton_decrement=_real(data["newton_decrement"]),
        min_hessian_eigenvalue=_real(data["min_hessian_eigenvalue"]),
        boundary=texts(data["boundary"]),
        n_evaluations=typed(data["n_evaluations"], int),
        n_iterations=typed(data["n_iterations"], int),
        engine=typed(data["engine"], str),
        n_elsewhere=typed(data.get("n_elsewhere", 0), int),
        negative=texts(data.get("negative", [])),
        unsearched=typed(data.get("unsearched", False), bool),
    )


def _monte_carlo(data: Any, terms: tuple[TermRecord, ...]) -> MonteCarloError | None:
    if data is None:
        return None
    covariances = typed(data["covariances"], list)
    if len(covariances) != len(terms):
        raise ValueError("the Monte Carlo errors do not fit the random-effects terms")
    return MonteCarloError(
        n_probes=typed(data["n_probes"], int),
        llf=_real(data["llf"]),
        covariances=tuple(
            array(item, term.covariance.shape)
            for item, term in zip(covariances, terms, strict=True)
        ),
        sigma2=_real(data["sigma2"]),
    )


def _terms_of_x(data: object) -> tuple[tuple[str, ...], tuple[int, ...]]:
    labels, places = typed(data, list)
    terms = texts(labels)
    return terms, positions(places, len(terms))


def texts(value: object) -> tuple[str, ...]:
    """A list of texts as a tuple."""
    return tuple(typed(item, str) for item in typed(value, list))


def positions(value: object, length: int) -> tuple[int, ...]:
    """A list of positions below a length as a tuple."""
    found = tuple(typed(item, int) for item in typed(value, list))
    if any(not 0 <= k < length for k in found):
        raise ValueError(f"a position is not among the {length} there are")
    return found


def _notice(item: object) -> Notice:
    code, message = texts(item)
    return Notice(code, message)


def _method(value: object) -> str:
    if value not in ("REML", "ML"):
        raise ValueError(f"{value!r} is no method of estimation")
    return str(value)


def _estimator(value: object) -> str:
    if value not in ("", *MOMENTS):
        raise ValueError(f"{value!r} is no method of estimation by moments")
    return str(value)


def _optional_text(value: object) -> str | None:
    return None if value is None else typed(value, str)


def _real(value: object) -> float:
    return float(value) if isinstance(value, int) else typed(value, float)
