"""Free parameters without the directions that the data do not tell.

Within a term they are left out so that the covariance which stands for all keeps its place (see
`mlmfast.fitting.undetermined.values`); of directions that several terms share, by holding one
parameter each, for V and all that is determined vary in the same way whichever it is.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.criterion.flat_covariances import FlatCovariances
from mlmfast.criterion.parameters.natural import CovarianceParameters
from mlmfast.reduction.parameter_block import ParameterBlock


def told_parameters(
    parameters: CovarianceParameters, flat: FlatCovariances | None
) -> CovarianceParameters:
    """The parameters with moves that the data tell alone."""
    if flat is None or not flat.among(parameters.first).shape[1]:
        return parameters
    blocks, at = [], 0
    for block in parameters.blocks:
        n = len(block.first)
        first = np.zeros((len(flat.size), block.first.shape[1]))
        first[at : at + n] = block.first
        at += n
        null = flat.among(first)
        blocks.append(_with_moves(block, _beside(block, null)) if null.shape[1] else block)
    inside = replace(parameters, blocks=tuple(blocks))
    null = flat.among(inside.first)
    return (
        inside if not null.shape[1] else replace(inside, blocks=_without_some(blocks, null, flat))
    )


def _beside(block: ParameterBlock, null: FloatArray) -> FloatArray:
    """Moves of the free parameters at right angles to ``null`` in the parameters' own units."""
    size = np.sqrt((block.by_free**2).sum(axis=1))
    metric = block.by_free / np.where(size > 0, size, 1.0)[:, None]
    _, values, rows = np.linalg.svd((metric @ null).T @ metric)
    moves = rows[int((values > 1e-12 * values.max(initial=1e-300)).sum()) :].T
    return _along_range(block, moves, null)


def _along_range(block: ParameterBlock, moves: FloatArray, null: FloatArray) -> FloatArray:
    """The same moves up to ``null``, which of a singular G leave its range as little as may be.

    What leaves it bends: to the second order it moves what is told and lies on the boundary.
    """
    entries = len(block.kinds) == len(block.first)
    if not block.singular or block.second is None or block.second.ndim == 1 or not entries:
        return np.asarray(moves)
    variances = np.array([kind == "variance" for kind in block.kinds])
    # Moves are L M' + M L' of G = L L'; at right angles to all of them is what 2 M M' has out of
    # the range of L, whose trace this is.
    weights = np.where(variances, 1.0, np.sqrt(2.0))
    basis, values, _ = np.linalg.svd(weights[:, None] * block.first, full_matrices=False)
    basis = basis[:, values > 1e-10 * values.max(initial=1e-300)]
    bends = weights[:, None, None] * block.second
    bends = bends - np.tensordot(basis @ basis.T, bends, axes=1)
    size = bends[variances].sum(axis=0)
    by_null = np.linalg.pinv(null.T @ size @ null, rcond=1e-10, hermitian=True)
    return np.asarray(moves - null @ (by_null @ (null.T @ size @ moves)))


def _with_moves(block: ParameterBlock, moves: FloatArray) -> ParameterBlock:
    """The block with combinations (r, r') of its free parameters as free ones."""
    second = block.second
    if second is not None and second.ndim == 1:
        whole = np.zeros((len(second),) * 3)
        whole[(np.arange(len(second)),) * 3] = second
        second = whole
    if second is not None:
        second = np.einsum("eij,ia,jb->eab", second, moves, moves)
    return replace(
        block,
        first=block.first @ moves,
        second=second,
        by_free=block.by_free @ moves,
        moves=moves if block.moves is None else block.moves @ moves,
    )


def _without_some(
    blocks: list[ParameterBlock], null: FloatArray, flat: FlatCovariances
) -> tuple[ParameterBlock, ...]:
    """Leave out as many free parameters as there are directions in ``null`` (r, k)."""
    ends = np.cumsum([0, *(block.first.shape[1] for block in blocks)])
    lengths = []
    at = 0
    for block in blocks:
        n = len(block.first)
        lengths.append(np.sqrt(((flat.size[at : at + n, None] * block.first) ** 2).sum(axis=0)))
        at += n
    left = null * np.concatenate(lengths)[:, None]
    held: list[int] = []
    for _ in range(null.shape[1]):
        size = np.sqrt((left**2).sum(axis=1))
        row = int(np.argmax(size))
        if not size[row] > 0.0:
            # By rounding, directions may depend on those before them.
            break
        held.append(row)
        unit = left[row] / size[row]
        left = left - np.outer(left @ unit, unit)
    out = []
    for block, start, end in zip(blocks, ends[:-1], ends[1:], strict=True):
        kept = np.eye(end - start)[:, [k - start for k in range(start, end) if k not in held]]
        out.append(block if kept.shape[1] == end - start else _with_moves(block, kept))
    return tuple(out)
