"""What every covariance structure of a random-effects term provides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mlmfast.arrays import FloatArray

STRUCTURES: dict[str, type[CovarianceStructure]] = {}


@dataclass(frozen=True)
class CovarianceStructure(ABC):
    """A smooth map from unconstrained parameters theta to a covariance matrix G.

    G is relative to the residual variance. Arrays carry a leading axis, one row a fit. Newton's
    steps are taken in local coordinates around theta (`chart`, `move`), which a structure chooses
    so that they stay well conditioned where G is singular.

    Parameters
    ----------
    size
        Order q of G.
    """

    size: int

    #: Word before the bar term, ``us(x | g)``.
    keyword: ClassVar[str]
    #: What the structure assumes, in a few words.
    label: ClassVar[str]
    #: May the columns of Z be mixed linearly (G -> K G K' keeps the structure for any K)?
    mixes: ClassVar[bool]

    def __init_subclass__(cls) -> None:
        STRUCTURES[cls.keyword] = cls

    @property
    @abstractmethod
    def entries(self) -> tuple[tuple[int, int], ...]:
        """Entries (a, b), a >= b, of G that are not always 0."""

    @property
    @abstractmethod
    def n_theta(self) -> int:
        """Number of parameters."""

    @abstractmethod
    def matrix(self, theta: FloatArray) -> FloatArray:
        """G, shape (n_fits, q, q)."""

    @abstractmethod
    def chart(self, theta: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Derivatives of the entries by local coordinates around theta, where these are 0.

        Parameters
        ----------
        theta : shape (n_fits, n_theta)
        weight : shape (n_fits, n_entries)

        Returns
        -------
        First derivatives of the entries (n_fits, n_entries, n_theta), and second derivatives of
        weight'entries (n_fits, n_theta, n_theta).
        """

    @abstractmethod
    def move(self, theta: FloatArray, step: FloatArray) -> FloatArray:
        """The point at local coordinates ``step`` around ``theta``."""

    @abstractmethod
    def theta(self, matrix: FloatArray) -> FloatArray:
        """Parameters of the nearest member of the structure, shape (n_fits, n_theta)."""


def floor_eigenvalues(matrix: FloatArray, relative: float, absolute: float) -> FloatArray:
    """Symmetric matrices with eigenvalues lifted to relative * largest and to absolute.

    Examples
    --------
    >>> floor_eigenvalues(np.diag([4.0, -1.0])[None], 0.1, 0.01)[0].round(3).tolist()
    [[4.0, 0.0], [0.0, 0.4]]
    """
    values, vectors = np.linalg.eigh(matrix)
    floor = np.maximum(relative * values[..., -1:], absolute)
    return np.asarray((vectors * np.maximum(values, floor)[..., None, :]) @ vectors.mT)
