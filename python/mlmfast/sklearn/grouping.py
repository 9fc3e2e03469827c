"""Groups of rows as scikit-learn hands them over, and the random effects that each factor has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.data.frame import Frame
from mlmfast.errors import DataError, ModelError

_ONE_FACTOR = "group"

#: Random intercepts.
DEFAULT = "1"


def labels_by_factor(groups: Any, X: Any, n: int) -> dict[str, Any]:
    """Labels of each grouping factor.

    Parameters
    ----------
    groups
        One label a row; the name of a column of X, or a list of such names; or several factors as
        a dict or a data frame.
    X
        The rows, whose columns a name stands for.
    n
        Number of rows.

    Examples
    --------
    >>> labels_by_factor(["a", "b"], None, 2)
    {'group': ['a', 'b']}
    >>> frame = pd.DataFrame({"x": [1, 2], "site": ["a", "b"]})
    >>> labels_by_factor("site", frame, 2)["site"].tolist()
    ['a', 'b']
    """
    if isinstance(groups, str):
        return {groups: _column(groups, X)}
    if _is_names(groups, X):
        return {name: _column(name, X) for name in groups}
    if isinstance(groups, Mapping):
        found = {str(name): labels for name, labels in groups.items()}
    elif hasattr(groups, "columns"):
        found = {str(name): groups[name] for name in groups.columns}
    else:
        found = {str(getattr(groups, "name", None) or _ONE_FACTOR): groups}
    for name, labels in found.items():
        if np.ndim(labels) != 1 or len(labels) != n:
            raise DataError(
                f"groups {name!r} have shape {np.shape(labels)}; one label for each of the {n} "
                "rows of X is needed"
            )
    return found


def columns_of_names(groups: Any, X: Any) -> list[str]:
    """Columns of X that ``groups`` names, which are no features."""
    if isinstance(groups, str):
        return [groups]
    return list(groups) if _is_names(groups, X) else []


def _is_names(groups: Any, X: Any) -> bool:
    """Whether a list holds names of columns, and not one label a row."""
    return (
        isinstance(groups, list | tuple)
        and bool(groups)
        and hasattr(X, "columns")
        and len(groups) != len(X)
        and all(isinstance(name, str) and name in X.columns for name in groups)
    )


def _column(name: str, X: Any) -> Any:
    if not hasattr(X, "columns"):
        raise DataError(f"groups={name!r} names a column, and X is an array; give one label a row")
    if name not in X.columns:
        known = ", ".join(map(str, X.columns))
        raise DataError(f"groups={name!r} is no column of X (columns: {known})")
    return X[name]


def codes_in(labels: Any, levels: pd.Index, name: str) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Position of each row's label among known levels, -1 for a new one."""
    values = labels if hasattr(labels, "dtype") else np.asarray(labels)
    factor = Frame.from_native({name: values}).factor(name)
    if factor.has_missing():
        raise DataError(f"groups {name!r} have missing labels")
    return np.asarray(levels.get_indexer(pd.Index(factor.levels))[factor.codes], dtype=np.intp)


def is_default(random: Any) -> bool:
    """Whether ``random`` is what a `MixedModelRegressor` has without being told."""
    return isinstance(random, str) and random == DEFAULT


class RandomPart:
    """Which columns have random effects: ``random`` of a `MixedModelRegressor`.

    Parameters
    ----------
    random
        The left of a bar of lme4 ("1", "1 + x1", "0 + x1"), a list of columns with random slopes
        beside a random intercept, or a dict of these by factor.
    names
        Names of the features.

    Examples
    --------
    >>> RandomPart("1 + dose", ["dose", "age"]).of("site")
    (True, [0])
    >>> RandomPart({"site": ["age"], "rater": "1"}, ["dose", "age"]).of("site")
    (True, [1])
    """

    def __init__(self, random: Any, names: Sequence[str]) -> None:
        self._random, self._names = random, list(names)

    def check(self, factors: Sequence[str]) -> None:
        """Refuse what cannot be read, and what these grouping factors would leave unused.

        Raises
        ------
        ModelError
            For entries of factors that are not given, and for slopes without groups.
        """
        own = self._random
        entries = [*map(str, own)] if isinstance(own, Mapping) else []
        for factor in dict.fromkeys([*factors, *entries]) or (_ONE_FACTOR,):
            self.of(factor)
        if not factors and not is_default(own):
            raise ModelError(
                f"random={own!r} is what varies between groups, and there are none; give them, "
                "fit(X, y, groups=...), or leave random out"
            )
        unused = [name for name in entries if name not in factors]
        if unused:
            raise ModelError(
                f"random has an entry for {unused[0]!r}, which is no grouping factor "
                f"(groups: {', '.join(factors)})"
            )

    def of(self, factor: str) -> tuple[bool, list[int]]:
        """Whether a factor has random intercepts, and the features with random slopes."""
        own = self._random
        if isinstance(own, Mapping):
            if factor not in own:
                raise ModelError(
                    f"random has no entry for the grouping factor {factor!r} "
                    f"(entries: {', '.join(map(str, own))})"
                )
            own = own[factor]
        if isinstance(own, str):
            return self._of_text(own)
        if isinstance(own, Sequence | np.ndarray):
            return True, list(dict.fromkeys(self._position(name) for name in own))
        raise ModelError(
            f"random is {own!r}; give text such as '1' or '1 + x1', a list of columns, or a dict "
            "of these by grouping factor"
        )

    def _of_text(self, text: str) -> tuple[bool, list[int]]:
        if "|" in text:
            raise ModelError(
                f"random={text!r} has a bar; groups come with fit(X, y, groups=...), so give what "
                "stands left of it, or write the whole model as formula="
            )
        parts = [part.strip().strip("`") for part in text.split("+")]
        if "" in parts:
            raise ModelError(f"random={text!r} has nothing beside a +, or is empty; use '1'")
        intercept = "0" not in parts
        slopes = [part for part in parts if part not in {"0", "1"}]
        if not intercept and not slopes:
            raise ModelError(f"random={text!r} leaves no random effects")
        return intercept, list(dict.fromkeys(self._position(name) for name in slopes))

    def _position(self, name: Any) -> int:
        if isinstance(name, int | np.integer) and not isinstance(name, bool):
            if not -len(self._names) <= name < len(self._names):
                raise ModelError(f"random names column {name}; X has {len(self._names)}")
            return int(name) % len(self._names)
        if name not in self._names:
            raise ModelError(
                f"random names {name!r}, which is no feature (features: {', '.join(self._names)})"
            )
        return self._names.index(name)

    def matrix(self, X: FloatArray, factor: str) -> FloatArray:
        """Z of a factor, shape (n, q)."""
        intercept, slopes = self.of(factor)
        columns = [np.ones((len(X), 1))] if intercept else []
        return np.hstack([*columns, X[:, slopes]])
