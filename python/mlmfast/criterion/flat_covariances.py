"""Directions of the covariances that the data do not tell, and derivatives free of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.running.cached import cached_property

#: Singular value of parameters' moves, each scaled to 1, that lead along flat directions only.
_ALONG = 1e-7


@dataclass(frozen=True)
class FlatCovariances:
    """What the data do not tell of the covariances of a model.

    Coordinates are those of `Information`: the entries of each G, then those of the residual
    covariance, or sigma^2.

    Attributes
    ----------
    directions : shape (n, k)
        A basis of the directions along which the criterion is constant.
    unseen : shape (n, j)
        A basis of those along which V itself is constant: under ML all of them.
    of_effects : shape (m, l)
        A basis of those that move the m entries of G alone.
    size : shape (n,)
        Root of each coordinate's expected information by ML.
    free
        The same before residuals were held at independence (see
        `mlmfast.fitting.undetermined.held_residual`), where the directions are the differences
        from it; None where none were.

    Examples
    --------
    >>> nothing = np.array([[0.0], [1.0], [0.0]])
    >>> flat = FlatCovariances(nothing, nothing, nothing[:2], np.ones(3))
    >>> flat.among(np.eye(3)).ravel().tolist()
    [0.0, 1.0, 0.0]
    """

    directions: FloatArray
    unseen: FloatArray
    of_effects: FloatArray
    size: FloatArray
    free: FlatCovariances | None = None

    def among(self, first: FloatArray, unseen: bool = False) -> FloatArray:
        """Combinations of parameters that move along flat directions only, shape (r, k).

        Parameters
        ----------
        first : shape (n, r)
            Derivatives of the coordinates by the parameters.
        unseen
            Whether V itself must stay as it is.
        """
        unit, length = self.scaled(first)
        flat, _ = np.linalg.qr(self.size[:, None] * (self.unseen if unseen else self.directions))
        _, values, rows = np.linalg.svd(unit - flat @ (flat.T @ unit))
        values = np.concatenate([values, np.zeros(len(rows) - len(values))])
        return np.asarray(rows[values < _ALONG].T / length[:, None])

    def without(self, n_first: int) -> FlatCovariances | None:
        """What is left where the first coordinates are held; None where that is nothing.

        Examples
        --------
        >>> both = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
        >>> flat = FlatCovariances(both, both, both[:1, :0], np.ones(3))
        >>> flat.without(1).directions.ravel().tolist()
        [0.0, 0.0, 1.0]
        """
        directions, unseen = (_standing(d, n_first) for d in (self.directions, self.unseen))
        if not directions.shape[1]:
            return None
        return replace(
            self, directions=directions, unseen=unseen, of_effects=self.of_effects[:, :0]
        )

    def holds(self, stretch: slice) -> bool:
        """Whether the data tell nothing of any of a stretch of coordinates."""
        own = np.eye(len(self.size))[:, stretch]
        return bool(self.among(own).shape[1] == own.shape[1])

    def scaled(self, first: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Moves of the coordinates in units of their information, each of length 1; lengths."""
        scaled = self.size[:, None] * first
        length = np.sqrt((scaled**2).sum(axis=0))
        length = np.where(length > 0, length, 1.0)
        return scaled / length, length

    @cached_property
    def _projector(self) -> FloatArray:
        size = self.size[: len(self.of_effects), None]
        out = np.eye(len(size))
        basis: list[FloatArray] = []
        for column in (size * self.of_effects).T:
            # By Gram and Schmidt: what is exactly 0 stays so.
            left = column - sum((b * (b @ column) for b in basis), np.zeros_like(column))
            basis.append(left / np.sqrt(left @ left))
            out -= np.outer(basis[-1], basis[-1])
        return np.asarray(out * size / size.T)

    def cleaned(
        self, gradient: FloatArray, hessian: FloatArray, expected: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Derivatives by the criterion's coordinates without the rounding along `of_effects`.

        They are 0 there, but a zero of 1e-17 looks like any other number once it is scaled.
        """
        n, m = gradient.shape[1], len(self.of_effects)
        projector = np.eye(n)
        projector[:m, :m] = self._projector
        return (
            (projector @ gradient[:, :, None])[..., 0],
            projector @ hessian @ projector.T,
            projector @ expected @ projector.T,
        )


def _standing(directions: FloatArray, n_first: int) -> FloatArray:
    """Combinations of directions (n, k) that leave the first coordinates where they are."""
    _, values, rows = np.linalg.svd(directions[:n_first])
    rank = int((values > _ALONG * values.max(initial=1e-300)).sum())
    out = directions @ rows[rank:].T
    out[:n_first] = 0.0
    return np.asarray(out)
