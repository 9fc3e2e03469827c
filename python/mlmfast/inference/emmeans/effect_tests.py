"""Joint F tests of every effect within the levels of others."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pandas as pd

from mlmfast.errors import ModelError
from mlmfast.formula.functions import variables_of
from mlmfast.guessed_arguments import told
from mlmfast.inference.emmeans.contrast_rows import interaction_rows
from mlmfast.inference.emmeans.grid.nesting import with_nests
from mlmfast.inference.emmeans.joint import JointTests, notes_of, tested_row
from mlmfast.inference.emmeans.means import marginal_means
from mlmfast.inference.emmeans.reference_grid import ReferenceGrid, reference_grid
from mlmfast.inference.emmeans.specs import read_specs

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted


@told()
def joint_tests(
    fit: Fitted,
    by: Any = None,
    at: Mapping[str, Any] | None = None,
    *,
    ddf: Any = None,
    nesting: Any = None,
) -> JointTests:
    """F tests of every main effect and interaction, within each level of `by`.

    The effects are contrasts of estimated marginal means with equal weights, as in R's
    ``emmeans::joint_tests``; without empty cells and covariates they are the type III tests. A
    covariate counts with two values, its mean minus and plus 1.

    Parameters
    ----------
    fit
        The fit.
    by
        Factor or factors within whose levels to test (simple effects).
    at
        As in `LMMResult.emmeans`.
    nesting
        As in `LMMResult.emmeans`. A nested factor is tested within the levels of those that hold
        it, all together.
    ddf
        Method for the denominator degrees of freedom; that of the fit by default.

    Raises
    ------
    ModelError
        Where the model was made from arrays, or by leaves nothing to test.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (Days | Subject)", mlm.load_sleepstudy())
    >>> mlm.joint_tests(fit, ddf="asymptotic").tidy()[["term", "num_df", "statistic"]].round(3)
       term  num_df  statistic
    0  Days       1     45.853
    """
    within = () if by is None else read_specs(by, None).factors
    plain = reference_grid(fit, at)
    given = dict(at or {})
    for variable in plain.variables:
        if variable.is_averaged and variable.name not in within:
            given[variable.name] = [variable.values[0] - 1.0, variable.values[0] + 1.0]
    grid = with_nests(fit, reference_grid(fit, given), nesting)
    rows, reasons = [], {}
    for effect in _effects(fit, grid, within):
        _refuse_eliminated(fit, effect)
        means = marginal_means(fit, grid, effect, within, "equal", ddf)
        named = [name for name in grid.names if name in means.own_labels]
        contrasts = interaction_rows(means.within_holders(), "trt.vs.ctrl").regrouped(means.by)
        for key, k in contrasts.groups():
            labels = dict(zip(within, key, strict=True)) | {"term": ":".join(named)}
            row, reason = tested_row(contrasts, k)
            rows.append((key, labels | row))
            if reason:
                reasons[" ".join(map(str, (labels["term"], *key)))] = reason
    if not rows:
        raise ModelError("no effect is left to test; name fewer factors in by")
    keys = list(dict.fromkeys(key for key, _ in rows))
    ordered = [row for wanted in keys for key, row in rows if key == wanted]
    return JointTests(pd.DataFrame(ordered), notes_of(means, reasons))


def _refuse_eliminated(fit: Fitted, effect: tuple[str, ...]) -> None:
    absorbed = fit._record.absorbed
    if absorbed is not None and set(effect) & set(variables_of(absorbed.name)):
        raise ModelError(
            f"the factor {absorbed.name!r} is eliminated, and its levels are not tested jointly "
            "here; use anova(), or fit with absorb=False"
        )


def _effects(fit: Fitted, grid: ReferenceGrid, within: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Sets of variables, without those in `within`, that some term of the formula joins.

    A nested factor beside what holds it is the nested one alone.
    """
    spec = fit._record.fixed_spec
    assert spec is not None
    joined = [{v for text in term for v in variables_of(text)} for term in spec.factors.values()]
    for term in joined:
        term |= {holder for name in tuple(term) for holder in grid.nests.get(name, ())}
    free = [v.name for v in grid.variables if v.size > 1 and v.name not in within]
    return [
        chosen
        for size in range(1, len(free) + 1)
        for chosen in combinations(free, size)
        if any(set(chosen) <= term for term in joined)
        and not any(set(chosen) & set(grid.nests.get(name, ())) for name in chosen)
    ]
