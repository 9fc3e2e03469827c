"""Sentences of a report: the model, its data, its likelihood and its convergence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.diagnostics.residuals import residual_values
from mlmfast.display.numbers import column, count
from mlmfast.display.tables import Table
from mlmfast.reduction.engines.independence import nestings
from mlmfast.report.residual_tables import residual_sentence, scale_sentence

if TYPE_CHECKING:
    from mlmfast.fitted.certificates.monte_carlo import MonteCarloError
    from mlmfast.fitted.fitted import Fitted
    from mlmfast.fitted.record import FitRecord, GroupRecord

# Residuals need a pass over the rows, which a report of a large fit should not wait for.
_ROWS_FOR_RESIDUALS = 5000
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
    kind = "Linear mixed model" if mixed else "Linear model"
    return f"{kind} fit by {_METHOD[fit.method]} ({fit.method})"


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
    missing = f" ({fit.n_dropped} dropped: missing values)" if fit.n_dropped else ""
    facts.append(("Rows", f"{fit.nobs}{missing}"))
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


def likelihood_facts(fit: Fitted) -> list[tuple[str, str]]:
    """Criterion and information criteria."""
    restricted = "restricted " if fit._record.method == "REML" else ""
    values = {
        f"-2 {restricted}log-likelihood": fit.deviance,
        "AIC": fit.aic,
        "BIC": fit.bic,
    }
    return [(label, f"{value:.3f}") for label, value in values.items()]


def likelihood_note(fit: Fitted) -> str:
    """Whose convention AIC and BIC follow."""
    n = fit._record.n_parameters
    text = f"AIC, BIC as in R: {count(n, 'parameter')} counted, n = {count(fit.nobs, 'row')}."
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
    text = (
        f"Newton decrement {found.newton_decrement:.1e}, "
        f"smallest scaled Hessian eigenvalue {found.min_hessian_eigenvalue:.2g}, "
        f"{count(found.n_evaluations, 'evaluation')}, {count(found.n_iterations, 'step')}"
    )
    if found.n_elsewhere:
        text += (
            f"; lowest minimum of several starts ({count(found.n_elsewhere, 'evaluation')} more)"
        )
    return label, text


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
    if fit._source is None or fit.nobs > _ROWS_FOR_RESIDUALS or fit.nobs < 5:
        return None
    if fit._source.design.condensed is not None:
        return None
    plain = fit._record.absorbed is None
    own = residual_values(fit, "pearson") if plain else fit.resid("pearson")
    residuals = np.asarray(own, dtype=np.float64)
    quartiles: FloatArray = np.array(_quartiles(residuals), dtype=np.float64)
    cells = tuple(f"{value + 0.0:.3f}" for value in quartiles.round(3).tolist())
    return Table("Scaled residuals", ("Min", "1Q", "Median", "3Q", "Max"), (cells,), 0)


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
    text = f"{group.n_levels} ({group.name})"
    if fit._source is None or fit._source.design.condensed is not None:
        return text
    factor = fit._source.design.factors[record.levels[0]]
    sizes = _sizes(factor.codes, factor.n_levels).tolist()
    smallest, largest = min(sizes), max(sizes)
    if smallest == largest:
        return f"{text}, {count(smallest, 'row')} each"
    median = column([float(np.median(sizes))])[0].rstrip("0").rstrip(".")
    return f"{text}, {smallest} to {largest} rows, median {median}"


def _sizes(codes: np.ndarray[tuple[int], np.dtype[np.int32]], n_levels: int) -> IntArray:
    # In pieces: bincount makes a 64-bit copy of what it counts.
    total = np.zeros(n_levels, dtype=np.intp)
    for start in range(0, len(codes), _CHUNK):
        total += np.bincount(codes[start : start + _CHUNK], minlength=n_levels)
    return total
