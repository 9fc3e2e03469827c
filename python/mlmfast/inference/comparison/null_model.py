"""The null model of a test of random effects: which effects it lacks, and its distribution."""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches

from mlmfast.design.design import Design
from mlmfast.design.factors.names import known_group
from mlmfast.design.submodels import without_effect
from mlmfast.errors import ModelError

_NO_METHOD = "method is {!r}; use 'exact', 'mixture' or 'bootstrap'"


def only_effect(design: Design) -> str:
    """Name of the model's single random effect.

    Raises
    ------
    ModelError
        Where it has none, or several.
    """
    names = [
        name
        for t in design.random
        for name in (
            [t.text]
            if design.factors[t.factor].has_all_rows
            else [f"sd_{e}|{design.factors[t.factor].name}" for e in t.names]
        )
    ]
    if len(names) == 1:
        return names[0]
    what = f"several random effects; name one of {', '.join(names)}" if names else "none"
    raise ModelError(f"test_variance tests a random effect, and the model has {what}")


def find_effects(design: Design, name: str) -> tuple[int, list[int]]:
    """Term and effects that a name stands for."""
    names: dict[str, tuple[int, list[int]]] = {}
    by_group: dict[str, list[int]] = {}
    for t, term in enumerate(design.random):
        group = design.factors[term.factor].name
        by_group.setdefault(group, []).append(t)
        for j, effect in enumerate(term.names):
            # Levels of a term over all rows have one variance, which is tested whole.
            if not design.factors[term.factor].has_all_rows:
                names[f"sd_{effect}|{group}"] = (t, [j])
        if term.text:
            whole = (t, list(range(len(term.names))))
            names[term.text] = names[term.text.removeprefix("(").removesuffix(")")] = whole
    for group, terms in by_group.items():
        if len(terms) == 1:
            names.setdefault(group, (terms[0], list(range(len(design.random[terms[0]].names)))))
    squeezed = {"".join(key.split()): value for key, value in names.items()}
    wanted = "".join(str(name).split())
    found = squeezed.get(known_group(wanted, squeezed) or wanted)
    if found is not None:
        return found
    near = get_close_matches(str(name), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    shared = [own.text for own in design.random if design.factors[own.factor].has_all_rows]
    known = ", ".join([*(key for key in names if key.startswith("sd_")), *shared]) or "none"
    raise ModelError(f"{name!r} is no random effect of this model{hint} (effects: {known})")


def null_method(design: Design, t: int, effects: list[int], method: str | None) -> str:
    """How the null distribution of a test is had; by default the first way that serves."""
    term = design.random[t]
    # Members and curves: effects of all rows, which share one variance.
    shared = design.factors[term.factor].has_all_rows and term.structure.n_theta == 1
    single = len(design.random) == 1 and (shared or len(term.names) == 1)
    several = len(effects) > 1 and not shared
    related = single and design.factors[term.factor].relationship is not None
    is_only = single and design.residual is None and not related
    if method == "chi-square" or not design.random[t].bounded:
        return _null_without_bound(design, t, method)
    if method is None:
        if design.condensed is not None and several:
            raise ModelError(
                "several effects at once are tested by a bootstrap, which needs the rows; name one "
                "effect (sd_x|g), or fit the rows: mlm.lmm(formula, data)"
            )
        mixed = not several and (not is_only or design.condensed is not None)
        return "mixture" if mixed else "exact" if is_only else "bootstrap"
    if method not in {"exact", "mixture", "bootstrap"}:
        raise ModelError(_NO_METHOD.format(method))
    if design.condensed is not None and method != "mixture":
        raise ModelError(
            f"method={method!r} needs the rows, and a reduction holds sums over them; use "
            "method='mixture', or fit the rows: mlm.lmm(formula, data)"
        )
    if method == "exact" and not is_only:
        raise ModelError(
            "the exact distribution is known for the only variance besides the residual's; this "
            "model has other covariance parameters, or related levels: use method='bootstrap'"
        )
    if method == "mixture" and several:
        raise ModelError(
            "the mixture of two chi-squares holds for one effect at a time; name it (sd_x|g), or "
            "use method='bootstrap'"
        )
    return method


def _null_without_bound(design: Design, t: int, method: str | None) -> str:
    """How the null distribution is had where 0 is within the parameter space."""
    if design.random[t].bounded:
        raise ModelError(
            "method='chi-square' is for variances without a bound (bounded=False); one of 0 lies "
            "on the boundary here: use 'exact', 'mixture' or 'bootstrap'"
        )
    if method in {"exact", "mixture"}:
        raise ModelError(
            f"method={method!r} is for a variance whose bound is 0, and this one has none "
            "(bounded=False); use method='chi-square' or 'bootstrap'"
        )
    if method not in {None, "chi-square", "bootstrap"}:
        raise ModelError(_NO_METHOD.format(method))
    return method or "chi-square"


def without_effects(design: Design, t: int, effects: list[int]) -> Design:
    """The design without some random effects of a term: one, or all."""
    if len(effects) == len(design.random[t].names):
        return replace(design, random=design.random[:t] + design.random[t + 1 :])
    return without_effect(design, t, effects[0])
