"""Rows of several designs from arrays below each other, as if they had been given together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.design.checks import check_identified
from mlmfast.design.design import Design
from mlmfast.design.factors.grouping import RandomEffects
from mlmfast.design.from_arrays import (
    by_name,
    columns_of,
    factor_of,
    in_order,
    index_of,
    labels_by_factor,
)
from mlmfast.errors import DataError


class Part(NamedTuple):
    """Rows that came together.

    Attributes
    ----------
    design
        What was made of them.
    labels
        Labels of each grouping factor, in the order of the rows.
    effects
        Names of the columns of Z by grouping factor, as given; None where no Z was.
    """

    design: Design
    labels: dict[str, Any]
    effects: dict[str, tuple[str, ...] | None]

    @classmethod
    def of(cls, design: Design, y: Any, X: Any, groups: Any, Z: Any) -> Part:
        """What `design_from_arrays` made a design of."""
        labels = labels_by_factor(in_order(index_of(y, X), groups, "groups"))
        effects: dict[str, tuple[str, ...] | None] = {}
        Z = by_name(Z)
        for term, name in zip(design.random, labels, strict=True):
            given = Z.get(name) if isinstance(Z, Mapping) else Z
            effects[name] = None if given is None else _names(given, len(term.names))
        return cls(design, labels, effects)


def _names(Z: Any, q: int) -> tuple[str, ...]:
    columns = getattr(Z, "columns", None)
    return tuple(f"z{j + 1}" for j in range(q)) if columns is None else tuple(map(str, columns))


def merged(parts: Sequence[Part]) -> Part:
    """All rows, in the order of the parts.

    Raises
    ------
    DataError
        Where parts are not of one model.
    """
    first = parts[0]
    for k, part in enumerate(parts[1:], start=2):
        _check_alike(first, part, k)
    designs = [part.design for part in parts]
    labels = {name: _labels(name, parts) for name in first.labels}
    y = np.concatenate([design.y for design in designs])
    design = Design(
        y=y,
        x=_stacked([design.x for design in designs], designs),
        x_names=first.design.x_names,
        factors=tuple(factor_of(name, own, len(y)) for name, own in labels.items()),
        random=tuple(_effects(name, parts) for name in labels),
        weights=_vector([design.weights for design in designs]),
        offset=_vector([design.offset for design in designs]),
    )
    check_identified(design)
    return Part(design, labels, first.effects)


def _check_alike(first: Part, part: Part, k: int) -> None:
    """Refuse parts that are not of one model, saying what differs."""
    ours, theirs = first.design, part.design
    _same("columns of X", ours.x_names, theirs.x_names, k)
    # By name: factors may come in another order.
    _same("grouping factors", tuple(sorted(first.labels)), tuple(sorted(part.labels)), k)
    for name, own in first.effects.items():
        _same(f"columns of Z for {name!r}", own, part.effects[name], k)
    for name in ("weights", "offset"):
        if (getattr(ours, name) is None) != (getattr(theirs, name) is None):
            having, lacking = (k, 1) if getattr(ours, name) is None else (1, k)
            raise DataError(
                f"part {having} has {name} and part {lacking} has none; give them for all or for "
                "none"
            )


def _same(what: str, ours: Any, theirs: Any, k: int) -> None:
    if ours != theirs:
        first, other = (", ".join(names) if names else "none" for names in (ours, theirs))
        raise DataError(f"parts differ in the {what}: {first} in part 1, {other} in part {k}")


def _stacked(
    parts: Sequence[Sequence[FloatArray | None]], designs: Sequence[Design]
) -> tuple[FloatArray | None, ...]:
    """Columns below each other; one that is 1 throughout is known as such again."""
    matrix = np.empty((sum(design.n_obs for design in designs), len(parts[0])))
    start = 0
    for columns, design in zip(parts, designs, strict=True):
        for j, column in enumerate(columns):
            matrix[start : start + design.n_obs, j] = 1.0 if column is None else column
        start += design.n_obs
    return columns_of(matrix)


def _effects(name: str, parts: Sequence[Part]) -> RandomEffects:
    """The random effects of a factor, wherever it stands in each part."""
    terms = [part.design.random[list(part.labels).index(name)] for part in parts]
    columns = _stacked([term.columns for term in terms], [part.design for part in parts])
    given = parts[0].effects[name] or ("(Intercept)",)
    names = tuple("(Intercept)" if c is None else m for c, m in zip(columns, given, strict=True))
    text = f"({' + '.join(names)} | {name})"
    return RandomEffects(terms[0].factor, names, columns, terms[0].structure, text)


def _labels(name: str, parts: Sequence[Part]) -> Any:
    try:
        return np.concatenate([np.asarray(part.labels[name]) for part in parts])
    except TypeError:
        kinds = ", ".join(str(np.asarray(part.labels[name]).dtype) for part in parts)
        raise DataError(f"labels of {name!r} are of kinds that do not mix: {kinds}") from None


def _vector(parts: Sequence[FloatArray | None]) -> FloatArray | None:
    given = [part for part in parts if part is not None]
    return np.concatenate(given) if given else None
