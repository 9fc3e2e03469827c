"""Random effects that an absorbed factor leaves nothing of."""

from __future__ import annotations

from mlmfast.clusters import is_within
from mlmfast.design import Design
from mlmfast.errors import ModelError


def check_not_spanned(design: Design, method: str) -> None:
    """Refuse random effects that are functions of the fixed factor's levels, for REML.

    The restricted likelihood does not depend on their variances at all; the likelihood does.

    Raises
    ------
    ModelError
        Naming the effect.
    """
    fixed = design.absorbed
    if fixed is None or method != "REML":
        return
    for term in design.random:
        group = design.factors[term.factor]
        if not is_within(fixed.codes, fixed.n_levels, group.codes):
            continue
        for name, column in zip(term.names, term.columns, strict=True):
            if column is None or not fixed.split(column, design.weights)[1].any():
                raise ModelError(
                    f"the random effect {name} in {term.text} is a function of the levels of the "
                    f"fixed factor {fixed.name!r}, each of which lies within one level of "
                    f"{group.name!r}: REML cannot estimate its variance; leave the effect out, "
                    f"or take {fixed.name!r} as random"
                )
