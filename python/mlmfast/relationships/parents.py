"""Read who is whose parent: labels and numbers of parents from three columns."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import CodeArray, IntArray
from mlmfast.data.factor import Factor, level_label
from mlmfast.data.frame import Frame
from mlmfast.errors import DataError

#: What means an unknown parent, beside missing values, in files of ASReml (0, *), BLUPF90 and DMU
#: (0), SAS (. and blanks), R (NA), and in texts that Python made of missing values.
UNKNOWN = ("", "0", ".", "*", "NA", "NaN", "nan", "None", "<NA>")
#: What else does where no animal of the table has that name, in small letters: one animal that all
#: these were the offspring of would make half sibs of them.
_NOBODY = frozenset({"-", "--", "?", "na", "n/a", "nan", "none", "null", "unk", "unknown"})
_DECIMALS = re.compile(r"^(\d+)\.0+$")
_ZERO = re.compile(r"[+-]?0+(\.0*)?")
_NAMED = 6


@dataclass(frozen=True)
class Parents:
    """Animals, parents before their offspring.

    Attributes
    ----------
    labels
        Label of each animal.
    codes : shape (n, 2)
        Number of its sire and of its dam, -1 where unknown.
    n_without_rows
        Parents that stand in no row as animals themselves; they come first.
    """

    labels: tuple[str, ...]
    codes: CodeArray
    n_without_rows: int


def read_parents(data: Any, columns: tuple[str, str, str], unknown: Any) -> Parents:
    """Read the columns of animals, sires and dams; see `mlmfast.pedigree`."""
    frame = Frame.from_native(data)
    by_default, unknown = unknown is UNKNOWN, _unknown_labels(unknown)
    animals, sires, dams = (frame.factor(name) for name in columns)
    first, animal = _animals(animals, columns[0], unknown)
    own = tuple(animals.levels[code] for code in animals.codes[first])
    if by_default:
        unknown |= _nobody((*sires.levels, *dams.levels), set(own))
    number = {label: k for k, label in enumerate(own)}
    others = _founders((sires, dams), columns[1:], number, unknown)
    number |= {label: k for k, label in enumerate(others, len(own))}
    by_row = np.stack([_numbers(f, number, unknown) for f in (sires, dams)], axis=1)
    _check_one_account(by_row, first, animal, (*own, *others))
    of_own = by_row[first]
    return _in_order((*own, *others), len(others), of_own)


def _unknown_labels(unknown: Any) -> frozenset[str]:
    if isinstance(unknown, str) or not isinstance(unknown, Iterable):
        unknown = [unknown]
    return frozenset(level_label(value) for value in unknown)


def _nobody(labels: Iterable[str], animals: Collection[str]) -> frozenset[str]:
    """Parents that other ways to write an unknown one stand for."""
    return frozenset(
        label
        for label in labels
        if label not in animals
        and (label.strip().casefold() in _NOBODY or _ZERO.fullmatch(label.strip()))
    )


def _is_unknown(label: str, unknown: frozenset[str]) -> bool:
    return label.strip() in unknown or label in unknown


def _animals(factor: Factor, name: str, unknown: frozenset[str]) -> tuple[IntArray, IntArray]:
    """First row of each animal, and the animal of each row, in the order of first rows."""
    if factor.has_missing():
        row = int(np.flatnonzero(factor.codes < 0)[0])
        raise DataError(f"row {row + 1} of the pedigree has no {name!r}; every row is an animal's")
    for label in factor.levels:
        if _is_unknown(label, unknown):
            raise DataError(
                f"the pedigree has an animal {label!r} in {name!r}, which stands for an unknown "
                "parent; say what does by unknown=, such as unknown=[-1] for animals that are "
                "numbered from 0"
            )
    _, first, animal = np.unique(factor.codes, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return np.asarray(first[order]), np.asarray(rank[animal])


def _founders(
    factors: tuple[Factor, Factor],
    names: tuple[str, ...],
    number: Mapping[str, int],
    unknown: frozenset[str],
) -> tuple[str, ...]:
    """Parents that are in no row as animals, those of the first column first."""
    found: dict[str, None] = {}
    for factor, name in zip(factors, names, strict=True):
        for label in factor.levels:
            if label in number or _is_unknown(label, unknown):
                continue
            if label.startswith("-") and label[1:].isdigit():
                raise DataError(
                    f"{name!r} has the negative number {label}, which is no animal of the "
                    f"pedigree; if it means an unknown parent, say so by unknown=[0, {label}] "
                    "(genetic groups are not offered)"
                )
            found[label] = None
    _check_spelling(tuple(found), names, number)
    return tuple(found)


def _check_spelling(
    founders: tuple[str, ...], names: tuple[str, ...], number: Mapping[str, int]
) -> None:
    """Refuse parents without a row who differ from an animal by how they are written alone."""
    if not founders:
        return
    known = {_plain(label): label for label in number}
    for label in founders:
        other = known.setdefault(_plain(label), label)
        if other != label:
            raise DataError(
                f"{names[0]!r} or {names[1]!r} has {label!r} beside {other!r}, which would be two "
                "animals; write every animal in one way"
            )


def _plain(label: str) -> str:
    """A label without blanks around it, or the decimals of an integer that was read as a float."""
    return _DECIMALS.sub(r"\1", label.strip())


def _numbers(factor: Factor, number: Mapping[str, int], unknown: frozenset[str]) -> CodeArray:
    """Number of the parent of each row, -1 where unknown."""
    table = [-1 if _is_unknown(label, unknown) else number[label] for label in factor.levels]
    # The last entry is the one that code -1, a missing value, reaches.
    return np.array([*table, -1], dtype=np.int32)[factor.codes]


def _check_one_account(
    by_row: CodeArray, first: IntArray, animal: IntArray, labels: tuple[str, ...]
) -> None:
    """Refuse rows of one animal that name other parents; the same row twice is one."""
    other = np.flatnonzero((by_row != by_row[first][animal]).any(axis=1))
    if not len(other):
        return
    row = int(other[0])
    before = int(first[animal[row]])
    raise DataError(
        f"animal {labels[animal[row]]!r} has other parents in row {row + 1} of the pedigree "
        f"({_pair(by_row[row], labels)}) than in row {before + 1} ({_pair(by_row[before], labels)})"
    )


def _pair(parents: CodeArray, labels: tuple[str, ...]) -> str:
    return " and ".join("unknown" if p < 0 else repr(labels[p]) for p in parents.tolist())


def _in_order(labels: tuple[str, ...], n_others: int, of_own: CodeArray) -> Parents:
    """Parents first; otherwise in the order of the rows."""
    n, n_own = len(labels), len(of_own)
    # Those without rows come before all others.
    rank = np.r_[np.arange(n_others, n), np.arange(n_others)].astype(np.int32)
    labels = (*labels[n_own:], *labels[:n_own])
    codes = np.full((n, 2), -1, dtype=np.int32)
    codes[n_others:] = np.where(of_own < 0, -1, rank[of_own])
    order, chain = _core.birth_order(codes)
    if len(chain):
        raise DataError(_loop([labels[k] for k in chain.tolist()]))
    place = np.empty(n, dtype=np.int32)
    place[order] = np.arange(n, dtype=np.int32)
    found = codes[order]
    return Parents(
        tuple(labels[k] for k in order.tolist()), np.where(found < 0, -1, place[found]), n_others
    )


def _loop(names: list[str]) -> str:
    if len(names) == 1:
        return f"animal {names[0]!r} is its own parent in the pedigree"
    shown = [*names[:_NAMED], *(["..."] if len(names) > _NAMED else []), names[0]]
    text = ", parent of ".join(name if name == "..." else repr(name) for name in shown)
    return f"animal {names[0]!r} is among its own ancestors in the pedigree: {text}"
