"""Reference fits fitted here: differences by quantity."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.errors import AliasedWarning, SingularFitWarning
from mlmfast.model import lmm
from mlmfast.result import LMMResult
from mlmfast.validation.check import Check
from mlmfast.validation.references import ReferenceFit

#: Share of an effect's own resolution to which a variance of 0 is found.
_ZERO = 1e-7
#: Absolute and relative difference of log-likelihoods.
_LOGLIK, _LOGLIK_SHARE = 1e-6, 1e-9
#: Degrees of freedom of a reference, and the name that they have here.
_DEGREES = {
    "df_satterthwaite": "satterthwaite",
    "df_kr": "",
    "df_kr_linear": "kenward-roger-linear",
    "df_kr_observed": "kenward-roger",
}
_ROBUST = ("CR0", "CR1", "CR2", "CR3")


def fit_quietly(formula: str, data: Any, **arguments: Any) -> LMMResult:
    """A fit without the warnings that singular and rank-deficient models must give."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AliasedWarning)
        warnings.simplefilter("ignore", SingularFitWarning)
        return lmm(formula, data, **arguments)


def compared(case: ReferenceFit) -> Iterator[Check]:
    """Every quantity of a reference fit that it holds, as checks."""
    fit = fit_quietly(case.formula, case.data, **case.arguments)
    yield from _certificate(case, fit)
    yield from _estimates(case, fit)
    yield from _covariances(case, fit)
    yield from _degrees(case)
    yield from _tests(case, fit)
    for kind in _ROBUST:
        if f"vcov_{kind.lower()}" in case.expected:
            yield _robust(case, fit, kind)


def _check(
    case: ReferenceFit, code: str, quantity: str, difference: float, tolerance: float
) -> Check:
    return Check(code, case.name, quantity, case.family, difference, tolerance)


def _certificate(case: ReferenceFit, fit: LMMResult) -> Iterator[Check]:
    found = fit.certificate
    note = (
        f"decrement {found.newton_decrement:.1e}, smallest eigenvalue "
        f"{found.min_hessian_eigenvalue:.2g}, {found.n_evaluations} evaluations, {found.engine}"
    )
    holds = fit.converged and found.is_minimum
    yield Check("OQ-11", case.name, "certificate", case.family, holds=holds, note=note)
    said = "; ".join(found.boundary) or "inside the parameter space"
    holds = fit.singular == case.singular == bool(found.boundary)
    yield Check("OQ-12", case.name, "boundary", case.family, holds=holds, note=said)
    dropped = list(fit.aliased) == case.expected.get("dropped", [])
    note = f"aliased: {', '.join(fit.aliased) or 'none'}"
    yield Check("OQ-12", case.name, "aliased columns", case.family, holds=dropped, note=note)


def _estimates(case: ReferenceFit, fit: LMMResult) -> Iterator[Check]:
    expected = case.expected
    target = expected["loglik"]
    allowed = _LOGLIK + _LOGLIK_SHARE * abs(target)
    yield _check(case, "OQ-1", "log-likelihood", abs(fit.llf - target), allowed)
    names, se = list(expected["beta"]), _values(expected["se"])
    beta = _values(expected["beta"])
    own = fit.params.dropna()
    if list(own.index) != names:
        note = f"coefficients are {', '.join(own.index)} and not {', '.join(names)}"
        yield Check("OQ-2", case.name, "names", case.family, holds=False, note=note)
        return
    error = np.abs(own.to_numpy() - beta) / np.maximum(np.abs(beta), se)
    yield _check(case, "OQ-2", "fixed effects", _largest(error), case.tolerance("beta"))
    error = np.abs(fit.bse[names].to_numpy() / se - 1.0)
    yield _check(case, "OQ-3", "standard errors", _largest(error), case.tolerance("se"))


def _covariances(case: ReferenceFit, fit: LMMResult) -> Iterator[Check]:
    expected = case.expected
    sigma = expected.get("sigma") if "residual_cov" not in expected else None
    if sigma is not None:
        error = abs((fit.sigma or np.nan) / sigma - 1.0)
        yield _check(case, "OQ-5", "residual SD", error, case.tolerance("sigma"))
    for group, value in expected.get("varcorr", {}).items():
        ours, names = _group(case, group), value["names"]
        target = np.array(value["cov"], dtype=float)
        found = fit.varcorr[ours].loc[names, names].to_numpy()
        floor = _ZERO * _geometric(_resolution(case, fit, ours, names))
        error = _over(found - target, case.tolerance("varcorr") * _geometric(target), floor)
        quantity = f"covariance of random effects by {ours}"
        yield _check(case, "OQ-4", quantity, *_scaled(error, case.tolerance("varcorr")))
    for group, levels in expected.get("ranef", {}).items():
        yield _blups(case, fit, group, levels)
    if "residual_cov" in expected:
        yield from _residual(case, fit)


def _blups(case: ReferenceFit, fit: LMMResult, group: str, levels: dict[str, Any]) -> Check:
    ours = _group(case, group)
    names = list(fit.ranef[ours].columns)
    labels = [_group(case, level) if ":" in group else level for level in levels]
    target = np.array(list(levels.values()), dtype=float).reshape(len(labels), -1)
    variances = np.array(case.expected["varcorr"][group]["cov"], dtype=float)
    allowed = case.tolerance("ranef") * np.sqrt(np.diag(variances))
    floor = 10 * _ZERO * np.sqrt(_resolution(case, fit, ours, names))
    found = fit.ranef[ours].loc[labels, names].to_numpy()
    error = _over(found - target, allowed, floor)
    quantity = f"random effects by {ours}"
    return _check(case, "OQ-6", quantity, *_scaled(error, case.tolerance("ranef")))


def _residual(case: ReferenceFit, fit: LMMResult) -> Iterator[Check]:
    value, rtol = case.expected["residual_cov"], case.tolerance("residual_cov")
    plain = {"cov", "variance", "variance_by_level"} & set(value)
    for arm, own in ({None: value} if plain else value).items():
        by_arm: Any = fit.residual_cov
        frame = by_arm if arm is None else by_arm[arm]
        labels, target = _residual_matrix(own, list(frame.index))
        found = frame.loc[labels, labels].to_numpy()
        error = _over(found - target, rtol * _geometric(target), 0.0)
        quantity = "residual covariance" + ("" if arm is None else f" of {arm}")
        yield _check(case, "OQ-5", quantity, *_scaled(error, rtol))


def _residual_matrix(value: dict[str, Any], labels: list[str]) -> tuple[list[str], FloatArray]:
    if "cov" in value:
        return value["levels"], np.array(value["cov"], dtype=float)
    if "variance_by_level" in value:
        by_level = value["variance_by_level"]
        return list(by_level), np.diag(list(by_level.values()))
    points = np.array(labels, dtype=float)
    gaps = np.abs(np.subtract.outer(points, points))
    return labels, value["variance"] * value["rho"] ** gaps


def _degrees(case: ReferenceFit) -> Iterator[Check]:
    for key, name in _DEGREES.items():
        if key not in case.expected:
            continue
        ddf = name or (
            "kenward-roger" if "residual" in case.arguments else "kenward-roger-expected"
        )
        fit = fit_quietly(case.formula, case.data, ddf=ddf, **case.arguments)
        target = case.expected[key]
        right = np.array([np.inf if v is None else v for v in target.values()], dtype=float)
        error = np.abs(fit.df[list(target)].to_numpy() / right - 1.0)
        yield _check(case, "OQ-7", f"df by {ddf}", _largest(error), case.tolerance("df"))


def _tests(case: ReferenceFit, fit: LMMResult) -> Iterator[Check]:
    target = case.expected.get("anova_type3", {}).get("satterthwaite")
    if target is not None:
        table = fit.anova(3, ddf="satterthwaite").frame.loc[target["terms"]]
        error = np.abs(table["F value"].to_numpy() / np.array(target["F"]) - 1.0)
        yield _check(case, "OQ-8", "F of terms, type III", _largest(error), case.tolerance("anova"))
    if "lrt" in case.expected:
        lrt = case.expected["lrt"]
        null = fit_quietly(case.null_formula, case.data, **case.arguments)
        error = abs((null.deviance - fit.deviance) / lrt["chisq"] - 1.0)
        yield _check(case, "OQ-8", "likelihood ratio", error, case.tolerance("chisq"))


def _robust(case: ReferenceFit, fit: LMMResult, kind: str) -> Check:
    key, names = f"vcov_{kind.lower()}", list(case.expected["beta"])
    target = np.array(case.expected[key], dtype=float)
    found = fit.cov_params(kind).loc[names, names].to_numpy()
    rtol = 2.0 * case.tolerance(key)
    error = _over(found - target, rtol * _geometric(target), 0.0)
    return _check(case, "OQ-9", f"{kind} covariance", *_scaled(error, rtol))


def _group(case: ReferenceFit, name: str) -> str:
    """Our name of a factor, or of a level, that lme4 calls the other way round."""
    return ":".join(reversed(name.split(":"))) if case.is_nesting else name


def _resolution(case: ReferenceFit, fit: LMMResult, group: str, names: list[str]) -> FloatArray:
    """m se^2 of the same-named fixed effect: how large a variance the data can tell from 0."""
    se, n = case.expected["se"], len(fit.ranef[group])
    return np.array([n * se.get(name, 0.0) ** 2 for name in names])


def _values(by_name: dict[str, float]) -> FloatArray:
    return np.array(list(by_name.values()), dtype=float)


def _geometric(matrix: FloatArray) -> FloatArray:
    """sqrt(v_i v_j) of variances, or of the diagonal of a matrix."""
    variances = np.diag(matrix) if matrix.ndim == 2 else matrix
    return np.sqrt(np.outer(variances, variances))


def _over(error: FloatArray, allowed: FloatArray, floor: FloatArray | float) -> FloatArray:
    """Differences over what is allowed: one of 0 where nothing is allowed is none."""
    room = allowed + floor
    with np.errstate(divide="ignore", invalid="ignore"):
        out = np.abs(error) / room
    return np.where((error == 0.0) & (room == 0.0), 0.0, out)


def _scaled(shares: FloatArray, tolerance: float) -> tuple[float, float]:
    """The largest difference in units of its tolerance, and the tolerance."""
    return _largest(shares) * tolerance, tolerance


def _largest(errors: FloatArray) -> float:
    """The largest; NaN where one is."""
    return float(np.max(errors)) if errors.size else 0.0
