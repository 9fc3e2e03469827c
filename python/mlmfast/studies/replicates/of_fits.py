"""Estimands read from a batch of fits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.batch.fit_batch import FitBatch
from mlmfast.distributions import quantile, two_sided
from mlmfast.errors import MlmError, ModelError
from mlmfast.studies.plan.method import Method
from mlmfast.studies.replicates.data_set import DataSet
from mlmfast.studies.replicates.fit_together import STATUSES, fit_together
from mlmfast.studies.replicates.fits_of_methods import Fits
from mlmfast.studies.replicates.outcomes import NUMBERS, Outcomes
from mlmfast.words import did_you_mean


def of_method(
    method: Method, data: Sequence[DataSet], estimands: Sequence[str], fits: Fits | None = None
) -> Outcomes:
    """Outcomes of a mixed model in data sets.

    Parameters
    ----------
    fits
        What other methods have fitted to them already.
    """
    found = fit_together(method, data) if fits is None else fits.of(method)
    return Outcomes.joined(
        len(data),
        len(estimands),
        ((at, _of_part(method, own, estimands, len(at))) for at, own in found),
    )


def _of_part(
    method: Method, found: FitBatch | MlmError, estimands: Sequence[str], n: int
) -> Outcomes:
    if isinstance(found, MlmError):
        return Outcomes.none(n, len(estimands), _one_line(found))
    return of_batch(method, found, estimands)


def of_batch(method: Method, batch: FitBatch, estimands: Sequence[str]) -> Outcomes:
    """Outcomes of fits."""
    out = Outcomes.none(len(batch), len(estimands))
    out.converged[:], out.singular[:] = batch.converged, batch.singular
    why = np.array([text if text not in STATUSES else "" for text in batch.status], dtype=object)
    together = [k for k, name in enumerate(estimands) if _is_coefficient(method, batch, name)]
    alone = [[k] for k in range(len(estimands)) if k not in together]
    for some in [together, *alone] if together else alone:
        found = _numbers(method, batch, [estimands[k] for k in some])
        if isinstance(found, str):
            out.error[:, some] = found
        else:
            out.numbers[:, :, some] = found
    unfitted = why != ""
    out.error[unfitted] = why[unfitted, None]
    # Of a covariance parameter there is an estimate alone, which fits without standard errors have.
    tested = np.array([not is_parameter(batch, name) for name in estimands])
    out.error[~np.isnan(out.numbers[0]) & ~tested] = ""
    missing = np.isnan(out.numbers[1]) & (out.error == "") & tested
    for fit, k in np.argwhere(missing).tolist():
        lost = np.isnan(out.numbers[0, fit, k])
        untold = batch.undetermined[fit]
        out.error[fit, k] = f"{estimands[k]} is not estimable here" if lost else untold
    return out


def _one_line(error: object) -> str:
    return " ".join(str(error).split())


def _is_coefficient(method: Method, batch: FitBatch, name: str) -> bool:
    return method.robust is None and name in batch.names


def _numbers(method: Method, batch: FitBatch, names: Sequence[str]) -> FloatArray | str:
    """The numbers of coefficients, or of one estimand of another kind, (6, n_fits, n_names).

    Or why there are none.
    """
    try:
        return _of_names(method, batch, names)
    except MlmError as error:
        # Which names there are goes by all of the fits, and is nothing to say of each.
        lacking = names[0] not in batch.names
        return f"{names[0]} is not estimable here" if lacking else _one_line(error)


def why_not(method: Method, batch: FitBatch, name: str) -> str:
    """Why no fit of a batch can have an estimand; empty where one may."""
    try:
        _of_names(method, batch, [name])
    except MlmError as error:
        return _one_line(error)
    return ""


def _of_names(method: Method, batch: FitBatch, names: Sequence[str]) -> FloatArray:
    if _is_coefficient(method, batch, names[0]):
        columns = [batch.names.index(name) for name in names]
        parts = (batch.params, batch.bse, batch.df, batch.pvalues)
        estimate, se, df, p = (np.asarray(part)[:, columns] for part in parts)
        return with_limits(estimate, se, df, p, method.level)
    return _of_another(method, batch, names[0])


def _of_another(method: Method, batch: FitBatch, name: str) -> FloatArray:
    """The numbers of an estimand that is no coefficient, or is tested robustly, (6, n_fits, 1)."""
    if is_parameter(batch, name):
        out = np.full((len(NUMBERS), len(batch), 1), np.nan)
        out[0, :, 0] = _parameter(batch, name)
        return out
    if method.robust is not None:
        return _robust(method, batch, name)[:, :, None]
    tests = batch.tests(_contrast(batch, name))
    return with_limits(tests.estimate, tests.se, tests.df, tests.pvalue, method.level)


def with_limits(
    estimate: FloatArray, se: FloatArray, df: FloatArray, p: FloatArray, level: float
) -> FloatArray:
    """Estimates with t limits, six arrays of their shape."""
    known = ~np.isnan(df)
    t = np.where(known, quantile(np.where(known, df, 1.0), level), np.nan)
    half = t * se
    return np.stack([estimate, se, df, p, estimate - half, estimate + half])


def _contrast(batch: FitBatch, name: str) -> str:
    """An estimand that is no coefficient: a linear function of them, written out."""
    if not any(sign in name for sign in "+-*/"):
        known = [*batch.names, *_parameters(batch)]
        hint = did_you_mean(name, known)
        raise ModelError(
            f"the estimand {name!r} is no coefficient of the model{hint} (there are "
            f"{', '.join(known)}, and linear functions such as {' - '.join(known[:2])!r})"
        )
    return name


def _robust(method: Method, batch: FitBatch, name: str) -> FloatArray:
    """The numbers of a coefficient, (6, n_fits), of fits made again one by one."""
    out = np.full((len(NUMBERS), len(batch)), np.nan)
    if name not in batch.names:
        _contrast(batch, name)
        raise ModelError(
            f"the estimand {name!r} is no coefficient; robust={method.robust!r} tests coefficients"
        )
    for fit in np.flatnonzero(np.isfinite(batch.llf)).tolist():
        try:
            found = batch[fit].robust(method.robust)
        except MlmError:
            continue
        if name in found.params.index:
            parts = (found.params, found.bse, found.df)
            estimate, se, df = (np.array([float(part[name])]) for part in parts)
            p = two_sided(estimate / se, df)
            out[:, fit] = with_limits(estimate, se, df, p, method.level)[:, 0]
    return out


def is_parameter(batch: FitBatch, name: str) -> bool:
    """Whether an estimand is a covariance parameter, of which there is an estimate alone."""
    return name in _parameters(batch) and name not in batch.names


def _parameters(batch: FitBatch) -> dict[str, tuple[str, int, int, str]]:
    """Covariance parameters by the names that `LMM.fit` knows them by."""
    out: dict[str, tuple[str, int, int, str]] = {}
    for group, effects in batch.effects.items():
        for i, one in enumerate(effects):
            out[f"sd_{one}|{group}"] = (group, i, i, "sd")
            out[f"var_{one}|{group}"] = (group, i, i, "var")
            for j in range(i):
                out[f"cor_{one}.{effects[j]}|{group}"] = (group, i, j, "cor")
                out[f"cov_{one}.{effects[j]}|{group}"] = (group, i, j, "var")
    return {**out, "sigma": ("", 0, 0, "sd"), "Residual": ("", 0, 0, "var")}


def _parameter(batch: FitBatch, name: str) -> FloatArray:
    group, i, j, kind = _parameters(batch)[name]
    if not group:
        return batch.sigma if kind == "sd" else np.square(batch.sigma)
    matrices = batch.varcorr[group]
    values = matrices[:, i, j]
    if kind == "var":
        return np.asarray(values)
    if kind == "sd":
        return np.sqrt(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(values / np.sqrt(matrices[:, i, i] * matrices[:, j, j]))
