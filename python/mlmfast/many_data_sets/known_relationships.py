"""Relationships that many data sets share: read once, before any of them is."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from mlmfast.design.factors.grouping import GroupingFactor
from mlmfast.design.factors.names import known_group
from mlmfast.design.factors.related_levels import relationship, with_relationships
from mlmfast.errors import DataError, ModelError, RelationshipWarning
from mlmfast.formula.mixed_formula import parse_formula
from mlmfast.relationships.matrix import labelled_parts
from mlmfast.relationships.pedigree import Pedigree
from mlmfast.relationships.precision import Precision


def check_relationships(cov: Any, groups: Collection[str]) -> None:
    """Refuse what is wrong for every data set.

    Parameters
    ----------
    cov
        As of `lmm`, but with labels: levels differ from one data set to another.
    groups
        Names of the grouping factors.

    Raises
    ------
    ModelError
        Where a name is no grouping factor, or a matrix is no covariance matrix.
    DataError
        Where a matrix has no labels, or cannot be read.

    Examples
    --------
    >>> check_relationships({"animal": [[1.0, 0.5], [0.5, 1.0]]}, ["animal"])
    Traceback (most recent call last):
        ...
    mlmfast.errors.DataError: cov['animal'] has no labels, and data sets may have ...
    """
    if cov is None:
        return
    if not isinstance(cov, Mapping):
        with_relationships((), cov)
    for name, given in cov.items():
        group = known_group(str(name), groups)
        if group is None:
            raise ModelError(
                f"cov names {name!r}, which is no grouping factor of the random effects; the model "
                f"has {', '.join(map(repr, groups)) or 'none'}"
            )
        if not isinstance(given, Pedigree | Precision):
            _check_matrix(group, given)


def _check_matrix(group: str, given: Any) -> None:
    labels, matrix = labelled_parts(given, f"cov[{group!r}]")
    if labels is None:
        raise DataError(
            f"cov[{group!r}] has no labels, and data sets may have different levels of {group!r}; "
            "give a data frame labelled by level, or (labels, matrix)"
        )
    codes = np.arange(len(labels), dtype=np.int32)
    with warnings.catch_warnings():
        # Each data set says so of its own.
        warnings.simplefilter("ignore", RelationshipWarning)
        relationship(GroupingFactor(group, codes, labels, (group,)), (labels, matrix))


def groups_of(formula: str) -> tuple[str, ...]:
    """Names of the grouping factors of a formula."""
    terms = parse_formula(formula).random
    return tuple(dict.fromkeys(":".join(term.group) for term in terms if term.group))
