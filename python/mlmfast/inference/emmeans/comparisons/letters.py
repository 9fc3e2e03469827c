"""Compact letters: means that share one do not differ significantly."""

from __future__ import annotations

from string import ascii_lowercase, ascii_uppercase

import numpy as np

from mlmfast.arrays import BoolArray

_ALPHABET = ascii_lowercase + ascii_uppercase


def compact_letters(differs: BoolArray) -> list[str]:
    """Letters of means by which pairs of them differ.

    Two means share a letter exactly where they do not differ: insert and absorb, then sweep
    (Piepho 2004, Journal of Computational and Graphical Statistics 13, 456).

    Parameters
    ----------
    differs : shape (k, k), symmetric
        Whether two means differ significantly; the diagonal is not looked at.

    Returns
    -------
    list of str
        Letters of each mean, "a" that of the first; with more than 52 of them "a1", "b1", ...

    Examples
    --------
    >>> differs = np.zeros((3, 3), dtype=bool)
    >>> differs[0, 2] = differs[2, 0] = True
    >>> compact_letters(differs)
    ['a', 'ab', 'b']
    """
    k = len(differs)
    columns = [frozenset(range(k))]
    for i in range(k):
        for j in range(i + 1, k):
            if differs[i, j]:
                columns = _absorbed(_split(columns, i, j))
    columns = _swept(columns, differs)
    # By the first mean that has it, then by the next ones.
    columns.sort(key=lambda column: sorted(column))
    names = [_name(n) for n in range(len(columns))]
    return [
        "".join(name for name, column in zip(names, columns, strict=True) if mean in column)
        for mean in range(k)
    ]


def _split(columns: list[frozenset[int]], i: int, j: int) -> list[frozenset[int]]:
    """No column holds both i and j."""
    out = []
    for column in columns:
        out += [column - {i}, column - {j}] if i in column and j in column else [column]
    return out


def _absorbed(columns: list[frozenset[int]]) -> list[frozenset[int]]:
    """Without columns that others hold."""
    distinct = list(dict.fromkeys(columns))
    return [own for own in distinct if not any(own < other for other in distinct)]


def _swept(columns: list[frozenset[int]], differs: BoolArray) -> list[frozenset[int]]:
    """Without columns whose pairs all share another one."""
    kept = list(columns)
    for column in sorted(columns, key=len):
        rest = [own for own in kept if own != column]
        pairs = ((i, j) for i in column for j in column if i <= j)
        if all(any(i in own and j in own for own in rest) for i, j in pairs):
            kept = rest
    return kept


def _name(n: int) -> str:
    round_, place = divmod(n, len(_ALPHABET))
    return _ALPHABET[place] + (str(round_) if round_ else "")


def significance(k: int, pairs: list[tuple[int, int]], significant: BoolArray) -> BoolArray:
    """Whether two of k means differ, from the verdicts of their pairs; shape (k, k).

    Examples
    --------
    >>> significance(2, [(0, 1)], np.array([True])).tolist()
    [[False, True], [True, False]]
    """
    out = np.zeros((k, k), dtype=np.bool_)
    for (i, j), verdict in zip(pairs, significant.tolist(), strict=True):
        out[i, j] = out[j, i] = verdict
    return out
