"""What every covariance structure provides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Literal

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.covariance.jet import Jet
from mlmfast.eigen import eigen
from mlmfast.errors import ModelError

STRUCTURES: dict[str, type[CovarianceStructure]] = {}


@dataclass(frozen=True)
class CovarianceStructure(ABC):
    """A smooth map from unconstrained parameters theta to a covariance matrix.

    The matrix is G of a random-effects term, relative to the residual variance, or R over the
    visits (or coordinates) of a cluster, in absolute scale. Arrays carry a leading axis, one row a
    fit. Newton's steps are taken in local coordinates around theta (`chart`, `move`): theta itself,
    unless a structure chooses others to stay well conditioned where the matrix is singular.

    Parameters
    ----------
    size
        Order K of the matrix.
    """

    size: int

    #: Word before the bar term, ``us(x | g)``.
    keyword: ClassVar[str]
    #: Other words for the same structure.
    aliases: ClassVar[tuple[str, ...]] = ()
    #: What the structure assumes, in a few words.
    label: ClassVar[str]
    #: Covariance of levels i and j in one line.
    formula: ClassVar[str]
    #: How many parameters, and which.
    parameters: ClassVar[str]
    #: When to use it, in one line.
    use: ClassVar[str]
    #: Name in PROC MIXED, and in the R packages mmrm, nlme and glmmTMB; None where there is none.
    sas: ClassVar[str | None] = None
    mmrm: ClassVar[str | None] = None
    nlme: ClassVar[str | None] = None
    glmmtmb: ClassVar[str | None] = None
    #: May the columns of Z be mixed linearly (G -> K G K' keeps the structure for any K)?
    mixes: ClassVar[bool] = False
    #: May the columns of Z be scaled one by one (G -> D G D keeps the structure for diagonal D)?
    scales: ClassVar[bool] = False
    #: Are the levels steps of one sequence, so that effects in other columns make no sense?
    sequential: ClassVar[bool] = False
    #: Does the order of the levels not matter?
    exchangeable: ClassVar[bool] = False
    #: Does it go by the order of the levels: is another order another set of matrices?
    ordered: ClassVar[bool] = False
    #: Does a covariance depend on the number of steps between two levels (field ``places``)?
    by_lag: ClassVar[bool] = False
    #: Are the levels uncorrelated, so that rows of one subject may share a level?
    independent: ClassVar[bool] = False
    #: Are there variances of the levels and no correlations, whose table is then left out?
    variances_alone: ClassVar[bool] = False
    #: Are the parameters the variances and correlations of the effects, and known as these?
    named_by_effects: ClassVar[bool] = False
    #: Does the first theta stand for the first standard deviation alone, by its logarithm or as it
    #: is? None where it does not: a product of structures then has no scale to hold.
    first_theta: ClassVar[Literal["logarithm", "root"] | None] = None
    #: Is a natural parameter ``Var(k)`` the variance of level k?
    variances_by_level: ClassVar[bool] = True
    #: Does one long series tell every parameter?
    from_one_series: ClassVar[bool] = False
    #: Is it one for random effects too, and which field does a number set there?
    #: Whether rows at one place have errors of their own, so that a subject may have several.
    takes_rows_at_one_place: ClassVar[bool] = False
    for_random_effects: ClassVar[bool] = True
    #: Is it one for residuals, whose covariance must not be singular?
    for_residuals: ClassVar[bool] = True
    random_option: ClassVar[str | None] = None
    #: Are there multiples of the identity among the matrices with other parameters free, so that a
    #: random effect for each row is the residual once more?
    contains_residual: ClassVar[bool] = False
    #: Are its matrices sums of known ones (argument ``matrices``)?
    takes_matrices: ClassVar[bool] = False
    #: Does a comparison of all structures have it: one that is no other without a number, needs no
    #: matrices, and differs from others over one column of visits?
    compared: ClassVar[Literal["always", "several columns", "never"]] = "always"
    #: Name of the set of matrices, the keyword unless a class says so; and the sets that contain
    #: this one, at the edge of their space at the least. What is not listed is not known to.
    space: ClassVar[str]
    contained_in: ClassVar[tuple[str, ...]] = ()
    #: Is the matrix positive definite for every theta (but singular ones on the boundary)?
    everywhere: ClassVar[bool] = True
    #: May the matrix be other than positive semidefinite, V being what has to be a covariance?
    indefinite: ClassVar[bool] = False
    #: Does the structure hold the sum of a member and any covariance in its tangent space?
    #: Not where variances of its own end at 0, or correlations are bounded by others.
    holds_sums: ClassVar[bool] = True
    #: Are the natural parameters the free entries themselves, in the order of `entries`?
    natural_entries: ClassVar[bool] = False
    #: Levels of a factor, or numeric coordinates (argument ``coordinates``)?
    needs: ClassVar[Literal["levels", "coordinates"]] = "levels"
    #: Field that a number in a formula sets, ``toep(visit | id, 2)``, and its names there.
    option: ClassVar[str | None] = None
    option_names: ClassVar[tuple[str, ...]] = ()
    #: Keyword of the structure that this one is without a number, in a residual formula.
    unnumbered: ClassVar[str | None] = None
    #: Levels below which the parameters could not be told apart.
    minimum_size: ClassVar[int] = 1

    def __init_subclass__(cls) -> None:
        if "keyword" in cls.__dict__:
            if not hasattr(cls, "space"):
                cls.space = cls.keyword
            for word in (cls.keyword, *cls.__dict__.get("aliases", ())):
                STRUCTURES[word] = cls

    @classmethod
    def counts_steps(cls, number: float | None) -> bool:
        """Whether steps between levels matter, with this number in the formula (None for none)."""
        return cls.by_lag

    @classmethod
    def is_diagonal(cls, number: float | None) -> bool:
        """Whether all levels are uncorrelated, with this number in the formula."""
        return cls.independent

    @property
    def is_regular(self) -> bool:
        """Whether there are positive definite matrices among the structure's."""
        return True

    def frees_combinations(self, levels: Sequence[int]) -> bool:
        """Whether each combination of the levels alone has no variance in some limit."""
        return False

    def __post_init__(self) -> None:
        if self.size < self.minimum_size:
            raise ModelError(
                f"the covariance structure {self.keyword!r} needs at least {self.minimum_size} "
                f"levels, found {self.size}; take a structure with fewer parameters"
            )

    @property
    @abstractmethod
    def entries(self) -> tuple[tuple[int, int], ...]:
        """Entries (a, b), a >= b, that are not always 0."""

    @property
    @abstractmethod
    def n_theta(self) -> int:
        """Number of parameters."""

    @abstractmethod
    def matrix(self, theta: FloatArray) -> FloatArray:
        """The covariance matrices, shape (n_fits, K, K)."""

    @abstractmethod
    def jacobian(self, theta: FloatArray) -> FloatArray:
        """Derivatives of the entries by theta, shape (n_fits, n_entries, n_theta)."""

    @abstractmethod
    def curvature(self, theta: FloatArray, weight: FloatArray) -> FloatArray:
        """Second derivatives of weight'entries by theta, shape (n_fits, n_theta, n_theta).

        Parameters
        ----------
        theta : shape (n_fits, n_theta)
        weight : shape (n_fits, n_entries)
        """

    def entry_hessians(self, theta: FloatArray) -> FloatArray:
        """Second derivatives of each entry by theta, (n_fits, n_entries, n_theta, n_theta)."""
        n = len(self.entries)
        return np.stack([self.curvature(np.repeat(t[None], n, axis=0), np.eye(n)) for t in theta])

    def entry_derivatives(self, theta: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Each entry with its derivatives by theta.

        Returns
        -------
        Values (n_fits, n_entries), first derivatives (n_fits, n_entries, n_theta) and second ones
        by the pairs (0, 0), (1, 0), (1, 1), ... of parameters, (n_fits, n_entries, n_pairs).
        """
        rows, columns = np.array(self.entries, dtype=np.intp).T
        i, j = np.tril_indices(self.n_theta)
        value = self.matrix(theta)[:, rows, columns]
        return value, self.jacobian(theta), self.entry_hessians(theta)[:, :, i, j]

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
        return self.jacobian(theta), self.curvature(theta, weight)

    @property
    def pulls(self) -> bool:
        """Whether `pull` and `bend` cost less than the Jacobian of the chart would."""
        return False

    def pull(self, theta: FloatArray, rows: FloatArray) -> FloatArray:
        """``rows`` (n_fits, m, n_entries) times the first derivatives of `chart`."""
        return rows @ self.chart(theta, np.zeros((len(theta), len(self.entries))))[0]

    def bend(self, theta: FloatArray, weight: FloatArray) -> FloatArray:
        """The second derivatives of `chart`."""
        return self.chart(theta, weight)[1]

    def move(self, theta: FloatArray, step: FloatArray) -> FloatArray:
        """The point at local coordinates ``step`` around ``theta``."""
        return theta + step

    def move_far(self, theta: FloatArray, step: FloatArray) -> FloatArray:
        """`move` by a step longer than a root that goes to 0, which shrinks by it as a factor."""
        return self.move(theta, step)

    def move_far_by_theta(self, theta: FloatArray, step: FloatArray) -> FloatArray:
        """`move_far` where steps are in theta itself, not in the chart."""
        return self.move_far(theta, step)

    @property
    def has_core_chart(self) -> bool:
        """Whether the core takes steps in these local coordinates by itself."""
        return False

    def by_parameters(self) -> CovarianceStructure:
        """The same matrices iterated in the parameters themselves, where single ones are held."""
        return self

    def closed(self) -> CovarianceStructure:
        """The same structure in parameters that reach its singular matrices, for random effects."""
        return self

    def opened(self) -> CovarianceStructure:
        """The same structure with variances below 0 among its matrices, for random effects.

        Raises
        ------
        ModelError
            Where it has parameters in which its matrices are not linear.
        """
        raise ModelError(
            f"bounded=False (NOBOUND): the covariance structure {self.keyword!r} has correlations "
            "and variances of its own, which no negative variance goes with; those of (x | g), "
            "(x || g), us, diag, homdiag, cs and toep may be negative"
        )

    def scaled(self, theta: FloatArray, factor: FloatArray) -> FloatArray:
        """Parameters of D R D of a closed structure, R its matrix at theta.

        Parameters
        ----------
        theta : shape (n_fits, n_theta)
        factor : shape (n_fits, 1) for D a multiple of the identity, or (n_fits, K), the diagonal of
            D, for structures that keep under it (``scales``)
        """
        return theta * factor

    def at_boundary(self, theta: FloatArray, small: float) -> tuple[FloatArray, BoolArray]:
        """The nearest singular matrix where an eigenvalue is at most ``small``.

        Returns
        -------
        Parameters, unchanged where nothing is small, and whether the matrix is singular (n_fits,).
        """
        values, vectors = eigen(self.matrix(theta))
        rows = np.asarray((values <= small).any(axis=1))
        out = theta.copy()
        if rows.any():
            kept = np.where(values <= small, 0.0, values)[rows]
            out[rows] = self.theta((vectors[rows] * kept[:, None, :]) @ vectors[rows].mT)
        return out, rows

    def at_moving_ends(self, theta: FloatArray) -> tuple[str, ...]:
        """Natural parameters at an end of their range that another parameter moves, (1, n_theta).

        What stands still by itself is found by its derivative; this does not.
        """
        return ()

    def is_vague(self, curvature: FloatArray) -> BoolArray:
        """Whether other minima may exist, from the diagonal of the Hessian by theta, (n_fits,).

        No for parameters in which the criterion is as good as quadratic.
        """
        return np.zeros(len(curvature), dtype=np.bool_)

    def alternatives(self, theta: FloatArray) -> FloatArray:
        """Other parameters of the same singular matrix, theta of shape (n_theta,).

        Where a matrix leaves parameters undetermined, derivatives by these say nothing, and a
        minimum must be one whatever they are. Shape (n, n_theta).
        """
        return theta[None][:0]

    @abstractmethod
    def theta(self, matrix: FloatArray) -> FloatArray:
        """Parameters of a member near positive definite matrices, shape (n_fits, n_theta).

        By moments; exact for a member of the structure, and always inside the parameter space.
        """

    def near_entries(self, entries: FloatArray, lift: float) -> tuple[FloatArray, BoolArray]:
        """Parameters near free entries of which no covariance may be.

        Parameters
        ----------
        entries : shape (n_fits, n_entries)
        lift : what eigenvalues are lifted to, over the largest, and at least.

        Returns
        -------
        Parameters, and where an eigenvalue was negative, (n_fits,).
        """
        values, vectors = eigen(symmetric_of(entries, self))
        return self.theta(lifted(values, vectors, lift, lift)), np.asarray(values[:, 0] < 0)

    @property
    @abstractmethod
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the natural parameters, PROC MIXED's."""

    @abstractmethod
    def natural(self, theta: FloatArray) -> FloatArray:
        """Natural parameters, shape (n_fits, n_theta)."""

    @abstractmethod
    def natural_jacobian(self, theta: FloatArray) -> FloatArray:
        """Derivatives of the natural parameters by theta, shape (n_fits, n_theta, n_theta)."""

    def natural_hessian(self, theta: FloatArray) -> FloatArray:
        """Second derivatives of the natural parameters by theta.

        Shape (n_fits, n_theta, n_theta, n_theta), the natural parameter first. Standard errors of
        the parameters, and tests by Kenward and Roger, need them.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no natural_hessian")

    def natural_jet(self, theta: FloatArray) -> Jet:
        """Natural parameters with first and second derivatives by local coordinates (`chart`)."""
        return Jet(self.natural(theta), self.natural_jacobian(theta), self.natural_hessian(theta))

    def entry_jet(self, theta: FloatArray) -> Jet:
        """The free entries with first and second derivatives by local coordinates (`chart`)."""
        rows, columns = np.array(self.entries, dtype=np.intp).T
        a, n = len(theta), len(rows)
        # Second derivatives of one entry at a time.
        weight = np.tile(np.eye(n), (a, 1))
        first, second = self.chart(np.repeat(theta, n, axis=0), weight)
        value = self.matrix(theta)[:, rows, columns]
        return Jet(value, first[::n], second.reshape(a, n, *second.shape[1:]))

    @abstractmethod
    def from_natural(self, values: FloatArray) -> FloatArray:
        """Parameters theta of natural parameters, shape (n_fits, n_theta)."""

    def first_of_unit(self, rest: FloatArray) -> FloatArray:
        """First natural parameter where the first variance is 1, from the others (n_fits, m)."""
        return np.ones((len(rest), 1))

    def powers(self, theta: FloatArray) -> FloatArray | None:
        """How each natural parameter grows with the scale of the covariance, where that is known.

        Shape (n_fits, n_theta); None where it must be found out (`units.scale_powers`).
        """
        return None

    def _outside(self, values: FloatArray) -> ModelError:
        """Complaint about natural parameters that give no covariance matrix."""
        pairs = zip(self.parameter_names, np.ravel(values)[: self.n_theta], strict=False)
        found = ", ".join(f"{name} = {value:.6g}" for name, value in pairs)
        return ModelError(
            f"{found} is outside the parameter space of the covariance structure "
            f"{self.keyword!r} with {self.size} levels ({self.formula})"
        )

    def _check_natural(self, values: FloatArray) -> FloatArray:
        values = np.asarray(values, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != self.n_theta:
            raise ModelError(
                f"the covariance structure {self.keyword!r} with {self.size} levels has "
                f"{self.n_theta} parameters ({', '.join(self.parameter_names)}); "
                f"found values of shape {values.shape}"
            )
        return values


@cache
def lower_entries(size: int) -> tuple[tuple[int, int], ...]:
    """Entries (a, b), a >= b, of a symmetric matrix by rows.

    Examples
    --------
    >>> lower_entries(3)
    ((0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2))
    """
    return tuple((a, b) for a in range(size) for b in range(a + 1))


def floor_eigenvalues(matrix: FloatArray, relative: float, absolute: float) -> FloatArray:
    """Symmetric matrices with eigenvalues lifted to relative * largest and to absolute.

    Examples
    --------
    >>> floor_eigenvalues(np.diag([4.0, -1.0])[None], 0.1, 0.01)[0].round(3).tolist()
    [[4.0, 0.0], [0.0, 0.4]]
    """
    return lifted(*eigen(matrix), relative, absolute)


def lifted(values: FloatArray, vectors: FloatArray, relative: float, absolute: float) -> FloatArray:
    """`floor_eigenvalues` of matrices by their eigenvalues and eigenvectors."""
    floor = np.maximum(relative * values[..., -1:], absolute)
    return np.asarray((vectors * np.maximum(values, floor)[..., None, :]) @ vectors.mT)


def symmetric(values: FloatArray, size: int, rows: IntArray, columns: IntArray) -> FloatArray:
    """Symmetric matrices with these values at (rows, columns) and 0 elsewhere."""
    matrix = np.zeros((len(values), size, size))
    matrix[:, rows, columns] = values
    matrix[:, columns, rows] = values
    return matrix


def symmetric_of(entries: FloatArray, structure: CovarianceStructure) -> FloatArray:
    """Matrices from the free entries of a structure, shape (a, K, K)."""
    rows, columns = np.array(structure.entries, dtype=np.intp).T
    return symmetric(entries, structure.size, rows, columns)


def has_few_parameters(structure: CovarianceStructure) -> bool:
    """Whether derivatives by parameters cost less than by entries."""
    t = structure.n_theta
    return structure.size > 5 and 2 * (t + t * (t + 1) // 2) < len(structure.entries)
