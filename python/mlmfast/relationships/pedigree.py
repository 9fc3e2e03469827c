"""Pedigrees: inbreeding, relationships and their sparse inverse, from the parents of animals."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import BoolArray, CodeArray, FloatArray, IntArray, SparseArray
from mlmfast.errors import DataError, ModelError
from mlmfast.guessed_arguments import told
from mlmfast.handed_out import freeze
from mlmfast.relationships.matrix import read_labels, some
from mlmfast.relationships.parents import UNKNOWN, Parents, read_parents
from mlmfast.relationships.triangle import Triangle
from mlmfast.running.cached import cached_property
from mlmfast.running.first_use import OnUse
from mlmfast.running.memory import check_memory

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = OnUse("pandas")

#: Variance of segregation below which an animal is its parents' copy to rounding.
_NO_SEGREGATION = 1e-10


@told()
def pedigree(
    data: Any,
    *,
    id: str = "id",
    sire: str = "sire",
    dam: str = "dam",
    unknown: Any = UNKNOWN,
) -> Pedigree:
    """A pedigree, from a row an animal with its parents.

    Rows stand in any order. A parent without a row of its own is an animal of unknown parents. One
    animal may be sire and dam, of one offspring too (plants that are selfed). The same row twice is
    one animal.

    Parameters
    ----------
    data
        Data frame of any kind that `mlmfast.lmm` takes, or a dict of arrays.
    id, sire, dam
        Names of the columns with animals, their sires and their dams.
    unknown
        Labels that stand for an unknown parent, beside missing values: by default blanks, ``0``,
        ``.``, ``*``, ``NA`` and what Python writes for a missing value; also zeros such as ``000``,
        ``-``, ``?``, ``null`` and ``unknown`` where no animal has that name. Animals that are
        numbered from 0 need another, such as ``unknown=[-1]``.

    Returns
    -------
    Pedigree
        To be given as ``cov={"animal": pedigree}`` wherever a relationship matrix can be.

    Raises
    ------
    DataError
        Where a column or an animal's label is missing, rows contradict each other, an animal is
        among its own ancestors (the loop is named), or a parent differs from another animal by
        blanks or decimals alone.
    ModelError
        Where an animal is a copy of its parent to rounding (33 generations of selfing).

    References
    ----------
    Inbreeding: Meuwissen and Luo (1992), Genet. Sel. Evol. 24, 305. The inverse: Henderson (1976),
    Biometrics 32, 69; Quaas (1976), Biometrics 32, 949. The example: Mrode (2014), Linear Models
    for the Prediction of Animal Breeding Values, 3rd ed., table 2.1.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> animals = {"id": [3, 4, 5, 6], "sire": [1, 1, 4, 5], "dam": [2, None, 3, 2]}
    >>> pedigree = mlm.pedigree(animals)
    >>> pedigree
    Pedigree of 6 animals: 2 without known parents (2 of them without a row), 2 inbred (...0.125)
    >>> pedigree.inbreeding.tolist()
    [0.0, 0.0, 0.0, 0.0, 0.125, 0.125]
    >>> pedigree.relationship(["5", "6"])
            5       6
    5  1.1250  0.6875
    6  0.6875  1.1250
    >>> pedigree.inverse.toarray()[0].round(3).tolist()
    [1.833, 0.5, -1.0, -0.667, 0.0, 0.0]
    """
    return _pedigree(read_parents(data, (id, sire, dam), unknown))


def _pedigree(parents: Parents) -> Pedigree:
    coefficients, segregation = _core.inbreeding(np.ascontiguousarray(parents.codes))
    least = int(np.argmin(segregation))
    if segregation[least] < _NO_SEGREGATION:
        raise ModelError(
            f"animal {parents.labels[least]!r} is a copy of its parents to rounding (inbreeding "
            f"{coefficients[least]:.12g}), so that relationships have no inverse; end the pedigree "
            "some generations before"
        )
    return Pedigree(
        parents.labels, parents.codes, coefficients, segregation, parents.n_without_rows
    )


@dataclass(frozen=True, eq=False, repr=False)
class Pedigree:
    """Animals, parents before their offspring; made by `mlmfast.pedigree`.

    Attributes
    ----------
    labels
        Label of each animal, n in all.
    parents : shape (n, 2)
        Position of its sire and of its dam, -1 where unknown.
    n_without_rows
        Parents that had no row of their own.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> plants = mlm.pedigree({"id": ["selfed"], "sire": ["p"], "dam": ["p"]})
    >>> plants.labels, len(plants), round(plants.logdet, 4)
    (('p', 'selfed'), 2, -0.6931)
    >>> plants.relationship()
              p  selfed
    p       1.0     1.0
    selfed  1.0     1.5
    """

    labels: tuple[str, ...]
    parents: CodeArray
    _coefficients: FloatArray
    _segregation: FloatArray
    n_without_rows: int = 0
    _place: dict[str, int] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        freeze(self, "parents", "_coefficients", "_segregation")
        self._place.update((label, k) for k, label in enumerate(self.labels))

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        known = self.parents >= 0
        roles = np.intersect1d(*(self.parents[known[:, k], k] for k in (0, 1)))
        inbred = self._coefficients[self._coefficients > 0.0]
        founders = int((~known.any(axis=1)).sum())
        text = f"Pedigree of {len(self):,} animals: {founders:,} without known parents"
        if self.n_without_rows:
            text += f" ({self.n_without_rows:,} of them without a row)"
        text += f", {len(inbred):,} inbred"
        if len(inbred):
            text += f" (mean {inbred.mean():.3g}, largest {inbred.max():.3g})"
        return text + (f", {len(roles):,} both sire and dam" if len(roles) else "")

    @property
    def inbreeding(self) -> pd.Series:
        """Inbreeding coefficient F of each animal; its relationship to itself is 1 + F."""
        return pd.Series(self._coefficients, index=list(self.labels), name="inbreeding", copy=True)

    @property
    def logdet(self) -> float:
        """log|A|."""
        return float(np.log(self._segregation).sum())

    @property
    def inverse(self) -> SparseArray:
        """A^-1, sparse, rows and columns in the order of `labels`."""
        return self._inverse.copy()

    @cached_property
    def _inverse(self) -> SparseArray:
        from scipy import sparse

        t = self._descent
        found = sparse.csr_array(t.T @ sparse.diags_array(1.0 / self._segregation) @ t)
        found.sort_indices()
        return found

    @cached_property
    def _descent(self) -> SparseArray:
        """T^-1, shape (n, n): 1 at the animal and -1/2 at each known parent."""
        from scipy import sparse

        n = len(self)
        rows, parents = np.repeat(np.arange(n), 2), self.parents.ravel()
        known = parents >= 0
        at = (np.r_[rows[known], np.arange(n)], np.r_[parents[known], np.arange(n)])
        values = np.r_[np.full(int(known.sum()), -0.5), np.ones(n)]
        # What stands twice, the two halves of a selfed parent, is added up.
        found = sparse.csr_array((values, at), shape=(n, n))
        found.sort_indices()
        return found

    @cached_property
    def root(self) -> Triangle:
        """S with A^-1 = S'S: D^-1/2 T^-1."""
        from scipy import sparse

        scale = sparse.diags_array(1.0 / np.sqrt(self._segregation))
        root = sparse.csr_array(scale @ self._descent)
        root.sort_indices()
        return Triangle(root, np.arange(len(self)))

    @property
    def variances(self) -> FloatArray:
        """Relationship of each animal to itself, 1 + F."""
        return 1.0 + self._coefficients

    def relationship(self, labels: Iterable[Any] | None = None) -> pd.DataFrame:
        """Relationships A between some animals, by default all.

        By T D T' for these animals alone (Colleau 2002, Genet. Sel. Evol. 34, 409): the whole
        matrix is not formed on the way.

        Parameters
        ----------
        labels
            Animals, in the order that their rows shall have.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> sibs = mlm.pedigree({"id": ["a", "b"], "sire": ["s", "s"], "dam": ["d", "t"]})
        >>> sibs.relationship(["a", "b"])
              a     b
        a  1.00  0.25
        b  0.25  1.00
        """
        rows = np.arange(len(self)) if labels is None else self._places(labels)
        check_memory(
            24.0 * len(rows) ** 2,
            f"the relationships of {len(rows):,} animals to each other",
            "name the animals that you need, or give the pedigree itself as cov=",
        )
        found = self.root.over(rows)
        # Exact where the sums above round.
        found[np.diag_indices(len(rows))] = self.variances[rows]
        names = [self.labels[k] for k in rows.tolist()]
        return pd.DataFrame(found, index=names, columns=names)

    def prune(self, labels: Iterable[Any]) -> Pedigree:
        """The pedigree of some animals: themselves and their ancestors.

        Examples
        --------
        >>> import mlmfast as mlm
        >>> family = mlm.pedigree({"id": ["a", "b"], "sire": ["s", "a"], "dam": ["d", None]})
        >>> family.prune(["a"]).labels
        ('s', 'd', 'a')
        """
        kept = np.flatnonzero(self.ancestors(self._places(labels)))
        place = np.full(len(self) + 1, -1, dtype=np.int32)
        place[kept] = np.arange(len(kept), dtype=np.int32)
        return Pedigree(
            tuple(self.labels[k] for k in kept.tolist()),
            place[self.parents[kept]],
            self._coefficients[kept],
            self._segregation[kept],
            int((kept < self.n_without_rows).sum()),
        )

    def ancestors(self, animals: IntArray) -> BoolArray:
        """Mark animals, by position, and all their ancestors, shape (n,)."""
        kept = np.zeros(len(self), dtype=np.bool_)
        new = np.unique(animals)
        while len(new):
            kept[new] = True
            parents = np.unique(self.parents[new]).astype(np.intp)
            new = parents[(parents >= 0) & ~kept[parents]]
        return kept

    def to_frame(self) -> pd.DataFrame:
        """A row an animal, parents first: ``id``, ``sire``, ``dam`` and ``inbreeding``."""
        names = np.array([*self.labels, None], dtype=object)
        sires, dams = names[self.parents].T
        columns = {"id": names[:-1], "sire": sires, "dam": dams, "inbreeding": self._coefficients}
        return pd.DataFrame(columns)

    def _places(self, labels: Iterable[Any]) -> IntArray:
        alone = isinstance(labels, str) or not isinstance(labels, Iterable)
        names = read_labels([labels] if alone else labels)
        missing = [name for name in names if name not in self._place]
        if missing:
            raise DataError(f"the pedigree has no animal {some(tuple(missing))}")
        if not names:
            raise DataError("no animal is named")
        return np.array([self._place[name] for name in names], dtype=np.intp)
