"""Sentences of a report: the model, its data, its likelihood and its convergence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlmfast.arrays import IntArray
from mlmfast.diagnostics.residuals import residual_values
from mlmfast.display.numbers import column, count
from mlmfast.display.tables import Table
from mlmfast.reduction.engines.independence import nestings
from mlmfast.report.residual_tables import residual_sentence, scale_sentence

if TYPE_CHECKING:
    from mlmfast.fitted.certificates.monte_carlo import MonteCarloError
    from mlmfast.fitted.fitted import Fitted
    from mlmfast.fitted.record import FitRecord, GroupRecord

#: Rows from which and up to which residuals are shown: they need a pass over the rows, which a
#: report of a large fit should not wait for.
LEAST_ROWS, ROWS_FOR_RESIDUALS = 5, 5000
#: What is shown of them.
QUARTILES = ("Min", "1Q", "Median", "3Q", "Max")
_CHUNK = 1 << 20


def title(fit: Fitted) -> str:
    """Say what was fitted and how."""
    record = fit._record
    mixed = (
        record.terms
        or fit.n_groups
        or record.residual is not None
        or record.residual_scale is not None
    )
    return title_of(fit.method, "Linear mixed model" if mixed else "Linear model")


def title_of(method: str, kind: str = "Linear mixed model") -> str:
    """Say by what method a model of some kind was fitted."""
    return f"{kind} fit by {_METHOD[method]} ({method})"


_METHOD = {
    "REML": "restricted maximum likelihood",
    "ML": "maximum likelihood",
    "type1": "mean squares of type I",
    "type2": "mean squares of type II",
    "type3": "mean squares of type III",
    "mivque0": "quadratic unbiased estimation",
}


def model_facts(fit: Fitted) -> list[tuple[str, str]]:
    """Describe the model and its data, as pairs of a label and a text."""
    record = fit._record
    facts = [("Formula", fit.formula)] if fit.formula else []
    facts.append(("Response", record.response))
    if record.weighted:
        shown = "variance is sigma^2 / weight"
        if record.residual is not None:
            shown = "covariance of rows i, j is R_ij / sqrt(weight_i weight_j)"
        facts.append(("Weights", f"residual {shown}"))
    offsets = [*record.offsets, *(["an offset argument"] if record.offset_given else [])]
    if offsets:
        facts.append(("Offset", " + ".join(offsets)))
    facts.append(("Rows", rows_text(fit.nobs, fit.n_dropped)))
    used = {record.groups[term.group].name for term in record.terms}
    sizes = [f"{name} {n}" for name, n in record.group_sizes.items() if name in used]
    if sizes:
        facts.append(("Groups", ", ".join(sizes)))
    related = [_related(group) for group in record.groups if group.related]
    if related:
        facts.append(("Related", ", ".join(related)))
    if record.absorbed is not None:
        n = len(record.absorbed.labels)
        facts.append(("Eliminated", f"{n:,} levels of {record.absorbed.name} (fixed)"))
    if record.residual is not None:
        facts.append(("Residuals", residual_sentence(record.residual)))
    if record.residual_scale is not None:
        facts.append(("Residual SD", scale_sentence(record.residual_scale)))
    if record.is_crossed and not (related and len(record.groups) == 1 and not record.residual):
        facts.append(("Crossed", _crossed(fit)))
    elif record.groups and not record.is_crossed:
        facts.append(("Clusters", _clusters(fit)))
    return facts


def rows_text(n: int, n_dropped: int) -> str:
    """Rows used, and those that were left out."""
    return f"{n} ({n_dropped} dropped: missing values)" if n_dropped else str(n)


def likelihood_facts(fit: Fitted) -> list[tuple[str, str]]:
    """Criterion and information criteria."""
    return criteria(fit._record.method, fit.deviance, fit.aic, fit.bic)


def criteria(method: str, deviance: float, aic: float, bic: float) -> list[tuple[str, str]]:
    """The same from their values."""
    restricted = "restricted " if method == "REML" else ""
    values = {f"-2 {restricted}log-likelihood": deviance, "AIC": aic, "BIC": bic}
    return [(label, f"{value:.3f}") for label, value in values.items()]


def criteria_note(n_parameters: int, n_rows: int) -> str:
    """Whose convention AIC and BIC follow."""
    counted = count(n_parameters, "parameter")
    return f"AIC, BIC as in R: {counted} counted, n = {count(n_rows, 'row')}."


def likelihood_note(fit: Fitted) -> str:
    """`criteria_note`, and how far probes may have moved them."""
    text = criteria_note(fit._record.n_parameters, fit.nobs)
    error = fit._record.monte_carlo
    if error is None or error.n_probes == 0:
        return text
    return (
        f"{text}\nThese are estimates from {error.n_probes} random probes: one standard deviation "
        f"of their\nMonte Carlo error is {2 * error.llf:.2g} for -2 log-likelihood, AIC and BIC, "
        f"and at\nmost {_largest_share(fit._record, error):.1g} of its size for a variance."
    )


def _largest_share(record: FitRecord, error: MonteCarloError) -> float:
    """Largest Monte Carlo error of a variance over the variance."""
    shares = [error.sigma2 / record.sigma2]
    for term, errors in zip(record.terms, error.covariances, strict=True):
        variances = np.diag(term.covariance)
        shares += (np.diag(errors)[variances > 0] / variances[variances > 0]).tolist()
    return max(shares)


def convergence(fit: Fitted) -> tuple[str, str]:
    """Label and text of the certificate."""
    found = fit.certificate
    if fit._record.estimator:
        return "Variances", "estimated by moments, without iteration"
    label = "Converged" if fit.converged else "NOT CONVERGED"
    if math.isinf(found.min_hessian_eigenvalue):
        return label, "least squares, no iteration needed"
    decrement, eigenvalue = found.newton_decrement, found.min_hessian_eigenvalue
    text = newton_text(decrement, eigenvalue, found.n_evaluations, found.n_iterations)
    if found.n_elsewhere:
        text += (
            f"; lowest minimum of several starts ({count(found.n_elsewhere, 'evaluation')} more)"
        )
    if found.unsearched:
        text += "; a lower minimum was not looked for (other starts would take too long)"
    return label, text


def newton_text(decrement: float, eigenvalue: float, n_evaluations: int, n_steps: int) -> str:
    """What shows the minimum, and how it was come to."""
    return (
        f"Newton decrement {decrement:.1e}, smallest scaled Hessian eigenvalue {eigenvalue:.2g}, "
        f"{count(n_evaluations, 'evaluation')}, {count(n_steps, 'step')}"
    )


def warnings_of(fit: Fitted) -> list[tuple[str, str]]:
    """Name the boundary and aliased columns, which a reader must know before the numbers."""
    out = []
    found = fit._record.undetermined
    untold = () if found is None else found.messages
    boundary = [text for text in fit.certificate.boundary if text not in untold]
    if boundary:
        out.append(("Singular", "; ".join(boundary)))
    if fit.certificate.negative:
        negative = "; ".join(fit.certificate.negative)
        out.append(("Negative", f"{negative}. V = Z G Z' + R is positive definite"))
    if untold:
        out.append(("Undetermined", "; ".join(untold)))
    if fit.aliased:
        text = f"{count(len(fit.aliased), 'column')} of X depends on earlier ones"
        out.append(
            ("Aliased", text if len(fit.aliased) == 1 else text.replace("depends", "depend"))
        )
    return out


def scaled_residuals(fit: Fitted) -> Table | None:
    """Quartiles of the Pearson residuals; None where they are not at hand or cost a wait."""
    if fit._source is None or not LEAST_ROWS <= fit.nobs <= ROWS_FOR_RESIDUALS:
        return None
    if fit._source.design.condensed is not None:
        return None
    plain = fit._record.absorbed is None
    own = residual_values(fit, "pearson") if plain else fit.resid("pearson")
    residuals = np.asarray(own, dtype=np.float64)
    cells = quartile_cells(_quartiles(residuals))
    return Table("Scaled residuals", QUARTILES, (cells,), 0)


def quartile_cells(quartiles: Sequence[float]) -> tuple[str, ...]:
    """Quartiles with three decimals, 0 without a sign.

    Examples
    --------
    >>> quartile_cells([-1.2345, -0.0001])
    ('-1.234', '0.000')
    """
    # By numpy's way of rounding, which multiplies first.
    return tuple(f"{round(value * 1000.0) / 1000.0 + 0.0:.3f}" for value in quartiles)


def _quartiles(values: NDArray[np.float64]) -> list[float]:
    """Smallest value, quartiles and largest, between neighbours by `numpy.quantile`'s default.

    Examples
    --------
    >>> _quartiles(np.array([5.0, 1.0, 2.0, 4.0]))
    [1.0, 1.75, 3.0, 4.25, 5.0]
    """
    ordered = np.sort(values)
    last, out = len(ordered) - 1, []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        below = int(share * last)
        a, b = ordered.item(below), ordered.item(min(below + 1, last))
        part = share * last - below
        out.append(a + (b - a) * part if part < 0.5 else b - (b - a) * (1.0 - part))
    return out


def _crossed(fit: Fitted) -> str:
    """Grouping factors that cross, and which of them are nested nevertheless."""
    record = fit._record
    names = [record.groups[k].name for k in record.levels]
    if record.residual is not None and record.is_dense:
        names += [] if record.residual.subject in names else [record.residual.subject]
    text = ", ".join(names)
    if fit._source is None:
        return text
    pairs = nestings(fit._source.design, record.levels)
    notes = [f"{inner} is nested in {outer}" for inner, outer in pairs]
    return f"{text} ({'; '.join(notes)})" if notes else text


def _related(group: GroupRecord) -> str:
    """A factor with a known relationship matrix."""
    if not group.n_without_rows:
        return f"{group.name}, by a known matrix"
    return f"{group.name}, by a known matrix with {group.n_without_rows} levels without rows"


def _clusters(fit: Fitted) -> str:
    """Units of the outermost factor and, where the rows are at hand, their sizes."""
    record = fit._record
    group = record.groups[record.levels[0]]
    if group.has_all_rows:
        return f"1, since all rows share the effects of {group.name}"
    if fit._source is None or fit._source.design.condensed is not None:
        return f"{group.n_levels} ({group.name})"
    factor = fit._source.design.factors[record.levels[0]]
    sizes = _sizes(factor.codes, factor.n_levels).tolist()
    median = float(np.median(sizes))
    return clusters_text(group.name, group.n_levels, min(sizes), max(sizes), median)


def clusters_text(name: str, n: int, smallest: float, largest: float, median: float) -> str:
    """Units of a factor and their sizes."""
    text = f"{n} ({name})"
    if smallest == largest:
        return f"{text}, {count(int(smallest), 'row')} each"
    middle = column([median])[0].rstrip("0").rstrip(".")
    return f"{text}, {int(smallest)} to {int(largest)} rows, median {middle}"


def _sizes(codes: np.ndarray[tuple[int], np.dtype[np.int32]], n_levels: int) -> IntArray:
    # In pieces: bincount makes a 64-bit copy of what it counts.
    total = np.zeros(n_levels, dtype=np.intp)
    for start in range(0, len(codes), _CHUNK):
        total += np.bincount(codes[start : start + _CHUNK], minlength=n_levels)
    return total
