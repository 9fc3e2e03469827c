"""Linear functions of fixed and random effects, k'beta + m'g, by text and names.

PROC MIXED's ESTIMATE with random effects after the bar: inference about the levels in the data
rather than the population they come from (McLean, Sanders and Stroup 1991, The American
Statistician 45, 54).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.degrees_of_freedom import Ddf, method_of
from mlmfast.design.factors.names import known_group
from mlmfast.distributions import two_sided
from mlmfast.errors import ModelError
from mlmfast.fitted.record import FitRecord
from mlmfast.inference.contrasts.contrast import Contrast, linear_function_tests
from mlmfast.inference.contrasts.estimability import check_estimable
from mlmfast.inference.contrasts.linear_tests import RowTests
from mlmfast.inference.contrasts.rows import contrast_rows
from mlmfast.prediction.spread import spread_of
from mlmfast.prediction.targets import EffectTargets
from mlmfast.prediction.undetermined_blups import is_untold

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted


def estimate(
    fit: Fitted,
    L: object,
    rhs: object = 0.0,
    ddf: Ddf | None = None,
    level: float = 0.95,
    *,
    random: Mapping[str, Any] | None = None,
) -> Contrast:
    """Estimate linear functions one by one, without a joint test; arguments as `contrast`.

    Parameters
    ----------
    random
        Weights of random effects to add to a single function of the fixed effects, by grouping
        factor, level and effect: ``{"Subject": {"308": {"Days": 1}}}``; a number in place of
        the last dict is the intercept's weight. As PROC MIXED's ESTIMATE with random effects
        after the bar: the standard error is that of the error of prediction, degrees of
        freedom as for intervals in `predict`.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> days = {"day 0": "(Intercept)", "day 5": "(Intercept) + 5 * Days"}
    >>> fit.estimate(days).table["se"].round(3).to_dict()
    {'day 0': 6.825, 'day 5': 9.581}
    >>> slope = fit.estimate("Days", random={"Subject": {"308": {"Days": 1}}})
    >>> round(slope.estimate, 3), round(slope.se, 3), round(slope.df, 1)
    (19.666, 2.336, 70.3)
    """
    if random is None:
        return linear_function_tests(fit, L, rhs, ddf, level, joint=False)
    return _with_random_effects(fit, L, random, rhs, ddf, level)


def _with_random_effects(
    fit: Fitted,
    L: object,
    random: Mapping[str, Any],
    rhs: object,
    ddf: Ddf | None,
    level: float,
) -> Contrast:
    record = fit._record
    rows = contrast_rows(record.x_names, L, rhs)
    if len(rows.L) != 1:
        raise ModelError(
            f"random= goes with one linear function, and this contrast has {len(rows.L)} rows; "
            "estimate them one at a time"
        )
    factors = fit._needs_source("an estimate with random effects", of_sums=True).design.factors
    weights = effect_weights(record, random)
    x = check_estimable(fit, rows.L)
    _check_told(fit, weights)
    blups = sum((m[0] * values).sum() for m, values in zip(weights, _values(fit), strict=True))
    estimate = x @ record.beta + blups
    related = tuple(factors[term.group].relationship for term in record.terms)
    spread = spread_of(fit, EffectTargets(x, weights, related), True, ddf=ddf)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = (estimate - rows.rhs) / spread.se
    pvalue = two_sided(statistic, spread.df)
    tests = RowTests(estimate, spread.se, spread.df, statistic, pvalue, rows.rhs)
    method = method_of(fit.ddf if ddf is None else ddf)
    return Contrast(rows, tests, None, str(fit.ddf if ddf is None else ddf), method.label, level)


def _check_told(fit: Fitted, weights: Sequence[FloatArray]) -> None:
    """Refuse functions of random effects that hang on what no data tell."""
    found = fit._record.undetermined
    if found is not None and is_untold(fit, weights):
        raise ModelError(
            "the data do not determine this function of the random effects: it hangs on "
            f"{', '.join(found.names)}, which no data tell apart; certificate.boundary says what "
            "they tell"
        )


def effect_weights(record: FitRecord, random: Mapping[str, Any]) -> tuple[FloatArray, ...]:
    """Weights of each term's effects, (1, n_levels, q), from names of groups, levels and effects.

    Raises
    ------
    ModelError
        For a name that does not exist (the nearest is suggested), or a weight that is no number.
    """
    out = tuple(
        np.zeros((1, len(record.groups[term.group].labels), len(term.names)))
        for term in record.terms
    )
    names = [group.name for group in record.groups]
    if not isinstance(random, Mapping):
        raise ModelError(
            f"random is {random!r}; give weights by grouping factor, level and effect, such as "
            f"{_example(record)}"
        )
    for name, levels in random.items():
        group = known_group(str(name), names)
        if group is None:
            raise _unknown("grouping factor", str(name), names)
        g = names.index(group)
        labels = list(record.groups[g].labels)
        if (
            record.groups[g].has_all_rows
            and isinstance(levels, Mapping)
            and labels[0] not in levels
        ):
            # What one looks for as levels, members and parts of curves, are its effects.
            _place(out, record, g, 0, levels)
            continue
        if not isinstance(levels, Mapping):
            raise ModelError(
                f"random[{name!r}] is {levels!r}; give a weight for each level, such as "
                f"{_level_of(record, g)}"
            )
        for label, item in levels.items():
            if str(label) not in labels:
                raise _unknown(f"level of {group!r}", str(label), labels)
            _place(out, record, g, labels.index(str(label)), item)
    return out


def _example(record: FitRecord) -> dict[str, dict[str, int]]:
    return {group.name: _level_of(record, g) for g, group in enumerate(record.groups[:1])}


def _level_of(record: FitRecord, g: int) -> dict[str, int]:
    """A level of a factor, or what stands for one."""
    group = record.groups[g]
    return {str(record.terms_on(g)[0].names[0] if group.has_all_rows else group.labels[0]): 1}


def _place(
    out: tuple[FloatArray, ...], record: FitRecord, group: int, level: int, item: Any
) -> None:
    """Add one level's weights: a number for the intercept, or numbers by effect."""
    weights = item if isinstance(item, Mapping) else {"(Intercept)": item}
    known = [name for term in record.terms_on(group) for name in term.names]
    for name, weight in weights.items():
        if str(name) not in known:
            raise _unknown(f"random effect of {record.groups[group].name!r}", str(name), known)
        try:
            value = float(weight)
        except (TypeError, ValueError):
            raise ModelError(
                f"the weight of {name!r} in random= is {weight!r}, no number"
            ) from None
        if not np.isfinite(value):
            raise ModelError(f"the weight of {name!r} in random= is {value}; give a finite number")
        for m, term in zip(out, record.terms, strict=True):
            if term.group == group and str(name) in term.names:
                m[0, level, term.names.index(str(name))] += value


def _unknown(what: str, name: str, known: list[str]) -> ModelError:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    some = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
    return ModelError(f"there is no {what} {name!r}{hint} (there are {some or 'none'})")


def _values(fit: Fitted) -> list[FloatArray]:
    """Predicted effects of each term, (n_levels, q)."""
    taken = [0] * len(fit._record.groups)
    out = []
    for term in fit._record.terms:
        first = taken[term.group]
        taken[term.group] += len(term.names)
        out.append(fit._effects[term.group].mean[:, first : taken[term.group]])
    return out
