"""Precision matrices that users give: ``cov={"site": mlm.precision(labels, Q)}``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import mlmfast._core as _core
from mlmfast.arrays import FloatArray, SparseArray
from mlmfast.errors import DataError, ModelError
from mlmfast.guessed_arguments import told
from mlmfast.handed_out import freeze
from mlmfast.relationships.matrix import (
    Labels,
    check_repeated,
    labelled_parts,
    read_labels,
    square_numbers,
    symmetric,
)
from mlmfast.relationships.triangle import Triangle
from mlmfast.running.cached import cached_property

#: Variance of a level over its variance given all others, beyond which Q is singular to rounding.
_SINGULAR = 1e10


@told()
def precision(labels: Any, matrix: Any = None) -> Precision:
    """The inverse of a relationship matrix, or the precision of a Gaussian Markov random field.

    Effects have the covariance Q^-1 (x) G. Where Q is sparse a fit takes time by the nonzeros of
    its Cholesky factor; Q^-1 is not formed.

    Parameters
    ----------
    labels
        Label of each row of the matrix; or a labelled data frame, which is all that is needed.
    matrix
        Q, sparse or dense, symmetric and positive definite.

    Returns
    -------
    Precision
        To be given as ``cov={"animal": precision}`` wherever a relationship matrix can be.

    Raises
    ------
    DataError
        Where the matrix has another shape, is not numeric or finite, or labels repeat.
    ModelError
        Where it is not symmetric, or not positive definite.

    References
    ----------
    Rue and Held (2005), Gaussian Markov Random Fields, chapter 2.

    Examples
    --------
    An autoregression along five sites, of coefficient 0.8:

    >>> import numpy as np
    >>> from scipy import sparse
    >>> import mlmfast as mlm
    >>> diagonal = np.array([1.0, 1.64, 1.64, 1.64, 1.0])
    >>> matrix = sparse.diags_array([diagonal, [-0.8] * 4, [-0.8] * 4], offsets=[0, 1, -1])
    >>> field = mlm.precision(["a", "b", "c", "d", "e"], matrix / 0.36)
    >>> field
    Precision of 5 levels, 13 entries
    >>> field.variances.round(6).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    what = "the precision"
    if matrix is None:
        names, matrix = labelled_parts(labels, what)
        if names is None:
            raise DataError(
                "precision() needs labels beside the matrix: mlm.precision(labels, Q), or a data "
                "frame whose rows and columns are labelled"
            )
    else:
        names = read_labels(labels)
        check_repeated(names, what)
    values = square_numbers(matrix, what)
    if len(names) != values.shape[0]:
        raise DataError(
            f"{what} has {len(names)} labels for a matrix of {values.shape[0]} rows; one a row is "
            "needed"
        )
    return _checked(names, symmetric(values, names, np.arange(len(names)), what))


def _checked(labels: Labels, matrix: SparseArray) -> Precision:
    first, columns = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)
    found = _core.precision_variances((first, columns, matrix.data))
    if found is None or (matrix.diagonal() * found[0]).max() > _SINGULAR:
        raise ModelError(
            "the precision is not positive definite, or singular to rounding, so that its inverse "
            "is no covariance matrix. Check that it is an inverse (a relationship matrix goes as "
            "cov={...: (labels, A)}); an intrinsic field needs a small number added to its diagonal"
        )
    return Precision(labels, matrix, *found)


@dataclass(frozen=True, eq=False, repr=False)
class Precision:
    """A known precision by label; made by `mlmfast.precision`.

    Attributes
    ----------
    labels
        Label of each level, n in all.
    inverse : sparse, shape (n, n)
        The precision: the inverse of the relationships.
    variances : shape (n,)
        Diagonal of its inverse.
    logdet
        log|Q^-1|.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> found = mlm.precision(["a", "b"], [[2.0, -1.0], [-1.0, 2.0]])
    >>> found.variances.round(4).tolist(), round(found.logdet, 4)
    ([0.6667, 0.6667], -1.0986)
    """

    labels: Labels
    inverse: SparseArray
    variances: FloatArray
    _log_determinant: float

    def __post_init__(self) -> None:
        freeze(self, "variances")

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"Precision of {len(self):,} levels, {self.inverse.nnz:,} entries"

    @property
    def logdet(self) -> float:
        """log|Q^-1|."""
        return -self._log_determinant

    @cached_property
    def root(self) -> Triangle:
        """S with Q = S'S, by the Cholesky factor in an order of little fill, read from its end."""
        from scipy import sparse
        from scipy.sparse.linalg import splu

        factor = splu(
            self.inverse.tocsc(),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
        assert np.array_equal(factor.perm_r, factor.perm_c), "diagonal pivots are kept"
        # Row i of Q is row perm_r[i] of L U, U = D L'; turned round, the transpose of L is a lower
        # triangle.
        pivots = factor.U.diagonal()
        upper = sparse.csr_array(sparse.diags_array(np.sqrt(pivots)) @ factor.L.T)
        turned = sparse.csr_array(upper[::-1, ::-1])
        turned.sort_indices()
        return Triangle(turned, np.argsort(factor.perm_r)[::-1].copy())
