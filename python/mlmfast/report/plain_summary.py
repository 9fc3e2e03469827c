"""The printed summary of a small fit of the usual kind, from its numbers, without a record.

One call of the core gives the numbers, one pass over them the text: what `summary` puts together
from the record, the tests, the residuals and their tables, letter by letter (`tests/report/`
compares the two). Every other fit has its text from there.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mlmfast.covariance.correlations import lower_correlations_of
from mlmfast.criterion.deviance import deviance_of_one
from mlmfast.display import numbers
from mlmfast.display.text import WIDTH, aligned, wrapped
from mlmfast.distributions import two_sided_of
from mlmfast.fitted.certificates.boundary_messages import FLAT
from mlmfast.fitted.make_record import LaterRecord
from mlmfast.report import facts
from mlmfast.report.tables import MOST_CORRELATED, estimates_with_errors

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

#: Order of G up to which the core has degrees of freedom of its own.
_MOST_EFFECTS = 2


class _Numbers(NamedTuple):
    """What the core says of a fit; see `NestedReduction.summary_numbers`."""

    beta: list[float]
    vcov: list[list[float]]
    degrees: list[float]
    sigma2: float
    covariance: list[list[float]]
    deviance: float
    quartiles: list[float]
    sizes: list[float]


def plain_summary(fit: Fitted) -> str | None:
    """The text of a fit whose record nothing has asked for yet; None for one of another kind.

    One grouping factor with one unstructured term of up to two effects, independent residuals,
    no weights or offsets, tests by Satterthwaite, names of plain letters and no line that has to be
    broken.
    """
    later = fit.__dict__.get("_to_record")
    if "_record" in fit.__dict__ or not isinstance(later, LaterRecord) or not _is_plain(later):
        return None
    found = _numbers_of(later)
    if found is None:
        return None
    head = _facts_text(later, found)
    parts = [head, _residuals_text(found), _random_text(later, found), _fixed_text(later, found)]
    text = "\n\n".join(parts)
    # Longer lines are broken, each in its way.
    return text if max(map(len, text.split("\n"))) <= WIDTH else None


def _is_plain(later: LaterRecord) -> bool:
    """Whether a fit is of the kind that has its text here."""
    model, frame = later.reduced, later.frame
    design = model.design
    if frame is None or later.ddf != "satterthwaite" or model.nested is None:
        return False
    if len(design.random) != 1 or len(design.factors) != 1 or not design.x_names:
        return False
    term, factor = design.random[0], design.factors[0]
    names = (frame.formula.text, design.response, factor.name, *design.x_names, *term.names)
    structure, columns = term.structure, (design.weights, design.offset, design.condensed)
    return (
        structure.keyword == "us"
        and structure.has_core_chart
        and structure.size <= _MOST_EFFECTS
        and term.bounded
        and factor.relationship is None
        and not factor.has_all_rows
        and all(column is None for column in columns)
        and not (frame.offset_given or frame.formula.offsets)
        and numbers.is_plain("".join(names))
        and facts.LEAST_ROWS <= design.n_obs <= facts.ROWS_FOR_RESIDUALS
        and later.found.n_elsewhere is None
        and later.found.newton.min_eigenvalue.item() >= FLAT
    )


def _numbers_of(later: LaterRecord) -> _Numbers | None:
    """The numbers of the text; None where the core has none."""
    model, found = later.reduced, later.found
    design, core = model.design, model.nested
    assert core is not None, "the caller looked"
    factor, reml = design.factors[0], found.criterion.reml
    rows = (factor.codes, factor.n_levels, model.z_scaling[0], model.x_scaling, model.y_scaling[0])
    told = core.summary_numbers(found.theta[0].tolist(), rows, reml)
    if told is None:
        return None
    (beta, vcov, degrees), sigma2, covariance, (sums, scales), quartiles, sizes = told
    deviance = deviance_of_one(model, reml, sums, scales)
    return _Numbers(
        beta,
        _square(vcov, len(beta)),
        degrees,
        sigma2,
        _square(covariance, design.random[0].structure.size),
        deviance,
        quartiles,
        sizes,
    )


def _square(values: list[float], n: int) -> list[list[float]]:
    return [values[k : k + n] for k in range(0, n * n, n)]


def _facts_text(later: LaterRecord, found: _Numbers) -> str:
    """Title, model, likelihood and convergence."""
    frame, design, newton = later.frame, later.reduced.design, later.found.newton
    assert frame is not None, "the caller looked"
    group, n_obs, method = design.factors[0], design.n_obs, later.method
    clusters = facts.clusters_text(group.name, group.n_levels, *found.sizes)
    clusters = clusters.replace("\N{NO-BREAK SPACE}", " ")
    k = len(found.beta) + later.found.criterion.n_theta + 1
    deviance = found.deviance
    aic, bic = deviance + 2.0 * k, deviance + k * float(np.log(n_obs))
    values = "   ".join([f"{a} {b}" for a, b in facts.criteria(method, deviance, aic, bic)])
    state = facts.newton_text(
        newton.decrement.item(),
        newton.min_eigenvalue.item(),
        later.found.n_evaluations.item(),
        newton.n_iterations.item(),
    )
    return (
        f"{facts.title_of(method)}\n"
        f"\nFormula:   {frame.formula.text}"
        f"\nResponse:  {design.response}"
        f"\nRows:      {facts.rows_text(n_obs, design.n_dropped)}"
        f"\nGroups:    {group.name} {group.n_levels}"
        f"\nClusters:  {clusters}\n"
        f"\n{values}"
        f"\n{facts.criteria_note(k, n_obs)}\n"
        f"\n{wrapped('Converged', state, 11)}"
    )


def _residuals_text(found: _Numbers) -> str:
    cells = [facts.QUARTILES, facts.quartile_cells(found.quartiles)]
    return "\n".join(["Scaled residuals:", *aligned(cells, 0)])


def _random_text(later: LaterRecord, found: _Numbers) -> str:
    """Variances and SDs of the random effects and of the residual."""
    term, group = later.reduced.design.random[0], later.reduced.design.factors[0].name
    variances = [row[i] for i, row in enumerate(found.covariance)] + [found.sigma2]
    variance, sd = numbers.column(variances), numbers.column([math.sqrt(v) for v in variances])
    head, first = ("Group", "Name", "Variance", "SD"), (group, term.names[0], variance[0], sd[0])
    last = ("Residual", "", variance[-1], sd[-1])
    cells: list[tuple[str, ...]] = [head, first, last]
    if len(term.names) > 1:
        own = lower_correlations_of(found.covariance)[1][0]
        second = ("", term.names[1], variance[1], sd[1], numbers.correlation(own))
        cells = [(*head, "Corr"), (*first, ""), second, (*last, "")]
    return "\n".join(["Random effects:", *aligned(cells, 2)])


def _fixed_text(later: LaterRecord, found: _Numbers) -> str:
    """Coefficients with their tests, and their correlations."""
    names, beta = later.reduced.design.x_names, found.beta
    errors = [math.sqrt(row[j]) for j, row in enumerate(found.vcov)]
    t = [b / se for b, se in zip(beta, errors, strict=True)]
    p = two_sided_of(t, found.degrees)
    cells: list[tuple[str, ...]] = [("", "Estimate", "Std. error", "df", "t value", "p value")]
    for j, own in enumerate(estimates_with_errors(beta, errors)):
        df = numbers.degrees_of_freedom(found.degrees[j])
        cells.append((names[j], *own, df, numbers.statistic(t[j]), numbers.p_value(p[j])))
    lines = ["Fixed effects:", *aligned(cells, 1), "df: Satterthwaite"]
    if 2 <= len(names) <= MOST_CORRELATED:
        heads = ("", *[str(j + 1) for j in range(len(names) - 1)])
        lower = lower_correlations_of(found.vcov)
        rows = [
            (f"{i + 1} {name}", *map(numbers.correlation, lower[i]), *[""] * (len(names) - 1 - i))
            for i, name in enumerate(names)
        ]
        lines += ["", "Correlation of fixed effects:", *aligned([heads, *rows], 1)]
    return "\n".join(lines)
