"""Whether one fitted model is a special case of another, as a likelihood-ratio test needs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.covariance import STRUCTURES
from mlmfast.design.columns.model_matrix import INTERCEPT
from mlmfast.design.residual.scale import CONSTANT_AND_POWER
from mlmfast.formula.residual_formula import ResidualFormula, parse_residual

if TYPE_CHECKING:
    from mlmfast.arrays import FloatArray
    from mlmfast.fitted.fitted import Fitted
    from mlmfast.fitted.record import FitRecord, TermRecord

#: Independent residuals of one variance, where there is no `residual=`.
_INDEPENDENT = "homdiag"
#: Number of a structure whose number is a parameter.
_FREE = -1.0
_CALL = re.compile(r"\s*(\w+)\s*\(([^|]*)\|([^,)]*)(?:,\s*([\d.]+)\s*)?\)\s*")
#: Share of a column of X that may lie outside the other's columns.
_OUTSIDE = 1e-8


def are_nested(small: Fitted, large: Fitted) -> bool:
    """Whether the model of ``small`` is known to be a special case of that of ``large``."""
    mine, its = small._record, large._record
    scales = ["" if r.residual_scale is None else r.residual_scale.text for r in (mine, its)]
    # Ratios of 1 and exponents of 0 are no scale at all, and constants of 0 leave a power.
    powers = scales[1].replace(CONSTANT_AND_POWER, "power")
    if not _fixed_are_nested(small, large) or scales[0] not in {"", scales[1], powers}:
        return False
    own = _residual_call(mine)
    left = [
        term
        for term in mine.terms
        if not any(_term_is_within(mine, term, its, other) for other in its.terms)
    ]
    other = _residual_call(its)
    if own[0] == "" and len(left) == 1 and left[0].names == ("(Intercept)",):
        # A random intercept is compound symmetry within its groups.
        if mine.groups[left[0].group].name != other[2].split("/")[-1].strip():
            return False
        own, left = ("cs", other[1], other[2], None), []
    return not left and _call_is_within(own, other)


def _residual_call(record: FitRecord) -> tuple[str, str, str, float | None]:
    """Structure, visits, subjects and number of the residual covariance."""
    if record.residual is None:
        return "", "", "", None
    parsed = parse_residual(record.residual.text)
    if len(parsed.calls) == 1:
        return _of_formula(parsed)
    found = _CALL.fullmatch(record.residual.text)
    if found is None:
        return record.residual.text, "", "", None
    word, visit, subject, number = found.groups()
    value = None if number is None else float(number)
    return word, visit.strip(), subject.strip(), value


def _of_formula(formula: ResidualFormula) -> tuple[str, str, str, float | None]:
    call, subject = formula.calls[0], ":".join(formula.subject)
    visit = ", ".join(call.coordinates)
    return (
        call.keyword,
        f"factor({visit})" if call.as_levels else visit,
        subject if formula.arm is None else f"{formula.arm} / {subject}",
        _FREE if call.free else call.number,
    )


def _call_is_within(
    own: tuple[str, str, str, float | None], other: tuple[str, str, str, float | None]
) -> bool:
    if own == other:
        return True
    if own[0] and own[1:3] != other[1:3]:
        # The same covariance in every arm is a special case of one by arm.
        by_arm = "/" in other[2] and other[2].split("/")[-1].strip() == own[2]
        if own[1] != other[1] or not by_arm:
            return False
    if space_of(own[0]) == space_of(other[0]):
        # With a larger number of bands or factors there are more matrices.
        if STRUCTURES[own[0] or _INDEPENDENT].option != "order":
            return own[3] == other[3]
        return (own[3] or np.inf) <= (other[3] or np.inf)
    independent = space_of(own[0]) == space_of("")
    return space_of(other[0]) in containing(own[0]) and (other[3] is None or independent)


def _term_is_within(
    record: FitRecord, term: TermRecord, other_record: FitRecord, other: TermRecord
) -> bool:
    same = record.groups[term.group].name == other_record.groups[other.group].name
    if other.bounded and not term.bounded:
        # Variances below 0 are no special case of those that stop there.
        return False
    if not same or not set(term.names) <= set(other.names):
        return False
    if space_of(term.structure) == space_of(other.structure) or len(term.names) == 1:
        return True
    return space_of(other.structure) in containing(term.structure)


def space_of(keyword: str) -> str:
    """Name of a structure's set of matrices; "" stands for independent residuals.

    Examples
    --------
    >>> space_of("car1"), space_of("")
    ('sp_exp', 'homdiag')
    """
    kind = STRUCTURES.get(keyword or _INDEPENDENT)
    return keyword if kind is None else kind.space


def containing(keyword: str) -> set[str]:
    """All sets of matrices known to contain those of a structure.

    Examples
    --------
    >>> sorted(containing("ar1h"))
    ['adh', 'toeph', 'us']
    """
    found: set[str] = set()
    todo = [space_of(keyword)]
    while todo:
        space = todo.pop()
        for kind in {kind for kind in STRUCTURES.values() if kind.space == space}:
            larger = set(kind.contained_in) - found
            found |= larger
            todo += larger
    return found


def _fixed_are_nested(small: Fitted, large: Fitted) -> bool:
    """Whether the columns of one X lie in the span of the other's."""
    mine, its = small._record, large._record
    names = [_named(record) for record in (mine, its)]
    if mine.absorbed is not None:
        return names[0] <= names[1]
    if names[0] <= names[1] or small._source is None or large._source is None:
        return names[0] <= names[1]
    if small._source.design.condensed is not None or large._source.design.condensed is not None:
        return False
    X, own = _columns(large), _columns(small)
    factor = large._source.design.absorbed
    if factor is not None:
        # What the factor's levels leave of both.
        X, own = (np.apply_along_axis(lambda c: factor.split(c, None)[1], 0, m) for m in (X, own))
        own = own[:, own.any(axis=0)]
    if X.shape[1] == 0 or own.size == 0:
        return own.size == 0
    q, _ = np.linalg.qr(X / np.sqrt((X**2).sum(axis=0)))
    own = own / np.sqrt((own**2).sum(axis=0))
    return bool(np.abs(own - q @ (q.T @ own)).max(initial=0.0) < _OUTSIDE)


def _named(record: FitRecord) -> set[tuple[str, str]]:
    """Coefficients with their terms: a column and a level of a factor may give the same name."""
    labels, term_of_column = record.terms_of_x
    if record.absorbed is not None:
        of = {name: labels[t] for name, t in zip(record.x_names, term_of_column, strict=True)}
        own = {INTERCEPT: INTERCEPT}
        return {
            (name, of.get(name) or own.get(name, record.absorbed.name))
            for name in record.coefficient_names
        }
    return {
        (record.x_names[j], labels[term_of_column[j]] if term_of_column else "")
        for j in record.kept
    }


def _columns(fit: Fitted) -> FloatArray:
    assert fit._source is not None, "the caller looked"
    return np.asarray(fit._source.design.fixed_matrix[:, list(fit._record.kept)])
