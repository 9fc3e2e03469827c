"""Checks of what a user hands to `mlmfast.mvn`: arrays, names of components, subsets."""

import difflib
import operator
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.errors import DataError
from mlmfast.handed_out import frozen

Component: TypeAlias = int | str
Subset: TypeAlias = Component | Sequence[Component] | IntArray

# Asymmetry beyond this many units of sd_i sd_j cannot be rounding of a computed covariance.
SYMMETRY_TOLERANCE = 1e-8


def real_array(label: str, value: ArrayLike) -> FloatArray:
    """Read-only float64 copy of `value`, in C order; DataError unless all are finite reals."""
    if np.ma.is_masked(value):
        raise DataError(f"{label} has masked entries; fill them in or leave those components out")
    kind = ""
    try:
        raw = np.asarray(value)
        kind = raw.dtype.kind
        if kind not in "biufO":
            raise TypeError
        array = np.array(raw, dtype=np.float64, order="C")
    except (TypeError, ValueError, OverflowError) as error:
        found = "complex numbers" if kind == "c" else "entries that are not real numbers"
        raise DataError(f"{label} has {found}; pass an array of real numbers") from error
    if not np.isfinite(array).all():
        n_bad = np.count_nonzero(~np.isfinite(array))
        raise DataError(f"{label} has {n_bad} NaN or infinite entries; all must be finite")
    kept: FloatArray = frozen(array)
    return kept


def vector(label: str, value: ArrayLike, length: int | None = None) -> FloatArray:
    """Finite vector; a number counts as a vector of length 1."""
    array = real_array(label, value)
    array = array.reshape(1) if array.ndim == 0 else array
    if array.ndim != 1 or array.size == 0:
        raise DataError(
            f"{label} has shape {array.shape}; it must be a vector with at least one entry"
        )
    if length is not None and array.size != length:
        raise DataError(f"{label} has length {array.size}; it must have length {length}")
    return array


def offset(label: str, b: ArrayLike, length: int) -> FloatArray:
    """Finite vector of that length; one number for all its entries is left as one."""
    array = vector(label, b)
    return array if array.size == 1 else vector(label, b, length)


def matrix(label: str, value: ArrayLike, n_columns: int) -> FloatArray:
    """Finite matrix with `n_columns` columns; a vector counts as one row."""
    array = np.atleast_2d(real_array(label, value))
    if array.ndim != 2 or array.shape[1] != n_columns or array.shape[0] == 0:
        raise DataError(
            f"{label} has shape {array.shape}; it must be a matrix with {n_columns} columns, "
            "one for each component"
        )
    return array


def points(label: str, value: ArrayLike, n_components: int) -> FloatArray:
    """Finite array of shape (..., n_components); for one component also a bare number."""
    array = real_array(label, value)
    if array.ndim == 0 and n_components == 1:
        return array.reshape(1)
    if array.ndim == 0 or array.shape[-1] != n_components:
        hint = "; for a vector of points write x[:, None]" if n_components == 1 else ""
        raise DataError(
            f"{label} has shape {array.shape}; its last axis must have length "
            f"{n_components}, one entry for each component{hint}"
        )
    return array


def covariance_matrix(label: str, value: ArrayLike, k: int) -> FloatArray:
    """Symmetric (k, k) matrix with variances >= 0; definiteness is left to the factorisation."""
    array = real_array(label, value)
    if array.ndim == 0 and k == 1:
        array = array.reshape(1, 1)
    if array.shape != (k, k):
        raise DataError(
            f"{label} has shape {array.shape} but the mean has {k} components; "
            f"{label} must have shape ({k}, {k})"
        )
    variance = np.diag(array)
    if (variance < 0).any():
        i = int(variance.argmin())
        raise DataError(f"{label} is not positive semi-definite: variance {i} is {variance[i]:.6g}")
    _require_symmetry(label, array)
    symmetric = (array + array.T) / 2
    _require_constants_uncorrelated(label, symmetric)
    kept: FloatArray = frozen(symmetric)
    return kept


def _require_symmetry(label: str, array: FloatArray) -> None:
    sd = np.sqrt(np.diag(array))
    gap = np.abs(array - array.T)
    beyond_rounding = gap > SYMMETRY_TOLERANCE * np.outer(sd, sd)
    if beyond_rounding.any():
        i, j = np.unravel_index(int((gap * beyond_rounding).argmax()), gap.shape)
        raise DataError(
            f"{label} is not symmetric: entries ({i}, {j}) and ({j}, {i}) are {array[i, j]:.6g} "
            f"and {array[j, i]:.6g}, a difference of {gap[i, j]:.3g}"
        )


def _require_constants_uncorrelated(label: str, array: FloatArray) -> None:
    # Cauchy-Schwarz; the eigenvalue test would see it only to second order.
    bad = (np.diag(array) == 0) & (array != 0).any(axis=1)
    if bad.any():
        i = int(bad.argmax())
        raise DataError(
            f"{label} is not positive semi-definite: variance {i} is 0 but row {i} has non-zero "
            f"covariances (smallest eigenvalue {np.linalg.eigvalsh(array)[0]:.6g})"
        )


def component_names(
    names: str | Iterable[str] | None, k: int, prefix: str = "x"
) -> tuple[str, ...]:
    """`names` checked, or x0, x1, ... when there are none."""
    if names is None:
        return tuple(f"{prefix}{i}" for i in range(k))
    given = (names,) if isinstance(names, str) else tuple(names)
    if len(given) != k:
        raise DataError(f"names has {len(given)} entries but there are {k} components")
    for i, name in enumerate(given):
        if not isinstance(name, str):
            raise DataError(f"names must be strings; entry {i} is {name!r}")
        if name in given[:i]:
            raise DataError(f"names has {name!r} more than once; each component needs its own name")
    return tuple(str(name) for name in given)


def positions(names: tuple[str, ...], subset: Subset, label: str) -> IntArray:
    """Positions of the components that `subset` lists by position or name, in its order."""
    single = isinstance(subset, str) or not isinstance(subset, Iterable)
    items: list[object] = [subset] if single else list(subset)  # type: ignore[arg-type]
    if not items:
        raise DataError(f"{label} is empty; it must list at least one component")
    found = [_position(names, item, label) for item in items]
    repeated = sorted({names[i] for i in found if found.count(i) > 1})
    if repeated:
        raise DataError(f"{label} lists component {repeated[0]!r} more than once")
    return np.array(found, dtype=np.intp)


def _position(names: tuple[str, ...], item: object, label: str) -> int:
    if isinstance(item, str):
        if item in names:
            return names.index(item)
        near = difflib.get_close_matches(item, names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"the names are {_listing(names)}"
        raise DataError(f"{label} has {item!r}, which is not the name of a component; {hint}")
    # A mask of booleans would pass as the positions 0 and 1.
    if isinstance(item, (bool, np.bool_)) or not hasattr(item, "__index__"):
        raise DataError(f"{label} has {item!r}; components are given by position or by name")
    position = operator.index(item)
    if not -len(names) <= position < len(names):
        raise DataError(
            f"{label} has position {position}, but there are {len(names)} components "
            f"(positions 0 to {len(names) - 1})"
        )
    return position % len(names)


def _listing(names: tuple[str, ...]) -> str:
    shown = ", ".join(repr(name) for name in names[:8])
    return shown + (", ..." if len(names) > 8 else "")


def probability(label: str, value: float) -> float:
    """`value` as a float strictly between 0 and 1."""
    level = real_array(label, value)
    if level.ndim != 0 or not 0 < level < 1:
        raise DataError(f"{label} is {value}; it must be a probability between 0 and 1")
    return float(level)
