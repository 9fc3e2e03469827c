"""The residual covariance of a report: a matrix over visits, or its few parameters."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.covariance.correlations import correlations
from mlmfast.design.residual.record import ResidualRecord, ScaleRecord
from mlmfast.design.residual.scale import parse_scale
from mlmfast.display import numbers
from mlmfast.display.tables import Table, triangle
from mlmfast.formula.residual_formula import (
    parse_residual,
    structure_formula,
    structure_label,
    takes_coordinates,
)

#: Visits whose correlations are still printed.
MOST_VISITS = 10
#: Visits of which each is named in the sentence that gives their order.
_MOST_SHOWN = 5
_TITLE = "Residual covariance"


def residual_sentence(residual: ResidualRecord) -> str:
    """Say which structure it is, over what, within whom.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> data = mlm.load_sleepstudy()
    >>> fit = mlm.lmm("Reaction ~ Days", data, residual="ar1(Days | Subject)")
    >>> print(residual_sentence(fit._record.residual).replace("\N{NO-BREAK SPACE}", " "))
    first-order autoregressive over Days within Subject (18 subjects, 10 visits: 0, 1, ..., 9)
    """
    written = parse_residual(residual.text)
    label = structure_label(residual.structure)
    spot = "point" if takes_coordinates(residual.structure) else "visit"
    size = numbers.count(residual.n_subjects, "subject")
    if residual.visits:
        size += f", {numbers.count(len(residual.visits), spot)}{_order(residual)}"
    text = f"{label} over {', '.join(written.coordinates)} within {residual.subject} ({size})"
    if written.arm is None:
        return text
    return f"{text}, separate for {numbers.count(len(residual.arms), 'level')} of {written.arm}"


def _order(residual: ResidualRecord) -> str:
    """The visits in their order, where it counts and they are no points."""
    if takes_coordinates(residual.structure) or len(residual.visits) < 2:
        return ""
    shown = list(residual.visits)
    if len(shown) > _MOST_SHOWN:
        shown = [*shown[:2], "...", shown[-1]]
    return f": {', '.join(shown)}"


def scale_sentence(scale: ScaleRecord) -> str:
    """Say what residual standard deviations are multiplied by.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> data = mlm.load_sleepstudy()
    >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", data, residual_scale="exp(Days)")
    >>> scale_sentence(fit._record.residual_scale)
    'times exp(delta Days)'
    """
    words = {"levels": "a ratio for each level of {by}", "power": "|{x}|^delta",
             "constpower": "(c + |{x}|^p)"}  # fmt: skip
    parts = []
    for factor in parse_scale(scale.text).factors:
        text = words.get(factor.kind, "exp(delta {x})")
        text = text.format(x=factor.column, by=":".join(factor.by))
        if factor.column and factor.by:
            what = "c and p" if factor.kind == "constpower" else "a delta"
            text += f" ({what} for each level of {':'.join(factor.by)})"
        parts.append(text)
    return f"times {' times '.join(parts)}"


def scale_table(scale: ScaleRecord) -> Table:
    """Ratios of standard deviations to the first level's, and exponents."""
    cells = zip(scale.names, numbers.column(scale.parameters.tolist()), strict=True)
    return Table("Residual scale", ("", "Estimate"), tuple(cells))


def residual_tables(residual: ResidualRecord, apart: bool = False) -> list[Table]:
    """Show variances and correlations by visit, or the parameters where visits have one variance.

    Parameters
    ----------
    residual
        The residual covariance.
    apart
        Put correlations into tables of their own, for narrow pages.
    """
    if _parameters(residual, 0)[0][0] == "Variance":
        return [_parameter_table(residual)]
    out: list[Table] = []
    for a in range(len(residual.arms)):
        out += _visit_tables(residual, a, apart)
    return out


def _parameters(residual: ResidualRecord, arm: int) -> list[tuple[str, float]]:
    """Names, without the arm's, and values of the natural parameters of one arm."""
    n = len(residual.parameters) // len(residual.arms)
    prefix = f"{residual.arms[arm]}: " if len(residual.arms) > 1 else ""
    names = residual.parameter_names[arm * n : (arm + 1) * n]
    values = residual.told_parameters[arm * n : (arm + 1) * n].tolist()
    return [(name.removeprefix(prefix), v) for name, v in zip(names, values, strict=True)]


def _parameter_table(residual: ResidualRecord) -> Table:
    arm_column = parse_residual(residual.text).arm
    grouped = arm_column is not None
    values = numbers.column(residual.told_parameters.tolist())
    rows: list[tuple[str, ...]] = []
    for a, arm in enumerate(residual.arms):
        for i, (name, _) in enumerate(_parameters(residual, a)):
            label = (arm if i == 0 else "", name) if grouped else (name,)
            rows.append((*label, values[len(rows)]))
    header = (arm_column or "", "Parameter", "Estimate") if grouped else ("", "Estimate")
    note = f"{_places(residual)} i, j: {structure_formula(residual.structure)}"
    return Table(_TITLE, header, tuple(rows), len(header) - 1, note)


def _places(residual: ResidualRecord) -> str:
    points = takes_coordinates(residual.structure)
    return "Covariance of points" if points else "Covariance of visits"


def _visit_tables(residual: ResidualRecord, arm: int, apart: bool) -> Iterator[Table]:
    written = parse_residual(residual.text)
    where = "" if written.arm is None else f", {written.arm} = {residual.arms[arm]}"
    covariance = residual.told[arm]
    correlated = bool(np.any(residual.covariances[arm] - np.diag(np.diag(covariance))))
    shown = correlated and len(residual.visits) <= MOST_VISITS
    beside = shown and not apart
    yield _variances(residual, covariance, f"{_TITLE}{where}", beside)
    if shown and apart:
        matrix = correlations(covariance)
        yield triangle(f"Residual correlations{where}", residual.visits, matrix.tolist())
    rest = [(name, v) for name, v in _parameters(residual, arm) if not name.startswith("Var(")]
    if correlated and not shown and len(rest) <= 2:
        values = numbers.column([v for _, v in rest])
        cells = tuple((name, v) for (name, _), v in zip(rest, values, strict=True))
        yield Table(f"Residual correlation{where}", ("", "Estimate"), cells)


def _variances(residual: ResidualRecord, covariance: FloatArray, title: str, beside: bool) -> Table:
    variance = np.diag(covariance).tolist()
    correlation = correlations(covariance)
    cells = zip(
        residual.visits, numbers.column(variance), numbers.column(np.sqrt(variance)), strict=True
    )
    rows = tuple(
        (*row, *[numbers.correlation(correlation[i, j]) for j in range(i if beside else 0)])
        for i, row in enumerate(cells)
    )
    n_beside = len(residual.visits) - 1 if beside else 0
    heads = ("Corr", *[""] * (n_beside - 1)) if n_beside else ()
    visit = ", ".join(parse_residual(residual.text).coordinates)
    large = len(residual.visits) > MOST_VISITS
    note = "covariances between visits: fit.residual_cov" if large else ""
    return Table(title, (visit, "Variance", "SD", *heads), rows, note=note)
