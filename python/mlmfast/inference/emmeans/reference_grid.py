"""The reference grid: every combination of levels, covariates at their means or as asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from mlmfast.arrays import BoolArray, FloatArray, IntArray
from mlmfast.data.factor import level_label, level_labels
from mlmfast.data.frame import Frame
from mlmfast.design.columns.expressions import evaluate_elsewhere, evaluate_numeric
from mlmfast.design.columns.model_variables import FactorVariable
from mlmfast.errors import DataError, ModelError
from mlmfast.fitted.row_facts import RowFacts
from mlmfast.formula.functions import FACTOR_OPTIONS, variables_of
from mlmfast.formula.syntax import Call, Name, parse
from mlmfast.inference.emmeans.row_facts import row_facts

if TYPE_CHECKING:
    from mlmfast.fitted.fitted import Fitted

_MOST_ENTRIES = 20_000_000


@dataclass(frozen=True, eq=False)
class GridVariable:
    """A variable of the grid.

    Attributes
    ----------
    name
        Its column in the data.
    is_factor
        Whether it has levels; else it is a covariate.
    labels
        Levels, or the covariate's values as text.
    values
        Levels as the data hold them, or numbers.
    known
        All levels of the data; `labels` may be fewer.
    known_values
        The same as the data hold them.
    is_averaged
        Whether a covariate stands at its mean.
    """

    name: str
    is_factor: bool
    labels: tuple[str, ...]
    values: tuple[Any, ...]
    known: tuple[str, ...] = ()
    known_values: tuple[Any, ...] = ()
    is_averaged: bool = False

    @property
    def size(self) -> int:
        """Number of values in the grid."""
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class ReferenceGrid:
    """Variables of the grid, and the rows of X and of the offset at every combination.

    Attributes
    ----------
    variables
        In the order of the formula.
    L : shape (size of each variable..., p)
        Rows of X, all columns.
    offset : shape (size of each variable...)
    nests
        For each nested factor those that it is nested in.
    present : shape (size of each variable or 1...), or None for all
        Whether the combination of nested factors with theirs occurs.
    """

    variables: tuple[GridVariable, ...]
    L: FloatArray
    offset: FloatArray
    nests: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    present: BoolArray | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the variables."""
        return tuple(variable.name for variable in self.variables)

    def position(self, name: str) -> int:
        """Axis of a variable."""
        return self.names.index(name)

    def codes(self, frame: Frame, names: Sequence[str]) -> IntArray:
        """For each row its cell over some factors of the grid (the last fastest); -1 if outside."""
        cells = np.zeros(frame.n_rows, dtype=np.int64)
        for name in names:
            variable = self.variables[self.position(name)]
            own, _ = frame.factor(name).recode(variable.labels)
            cells = np.where((cells < 0) | (own < 0), -1, cells * variable.size + own)
        return cells


def reference_grid(
    fit: Fitted, at: Mapping[str, Any] | None = None, curves: bool = False
) -> ReferenceGrid:
    """Lay out the grid of a fit.

    Parameters
    ----------
    fit
        The fit.
    at
        For a factor the levels to keep, for a covariate the value or values to set.
    curves
        Whether the rows may hold the effects of curves after the columns of X.

    Raises
    ------
    ModelError
        Where the model was made from arrays, or the grid would be too large.
    DataError
        Where `at` names what is not in the model, or a level that the data do not have.

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
    >>> reference_grid(fit, {"Days": [0, 9]}).L[..., 1].tolist()
    [0.0, 9.0]
    """
    spec = fit._record.fixed_spec
    if spec is None:
        raise ModelError(
            "the model was made from arrays, so there are no factors to average over; fit by a "
            "formula, or use contrast(L) with rows of your own"
        )
    if not curves:
        fit._record.refuse_smooths(
            "the grid of marginal means",
            "emmeans(), emtrends() and predict(rows, ranef=False, interval='confidence') give "
            "means and slopes with their curves, and contrast() differences between levels",
        )
    elif fit._record.smooth_terms:
        fit._needs_source("a marginal mean over curves")
    if at is not None and not isinstance(at, Mapping):
        raise DataError(f"at is {at!r}; write a dict, as in at={{'dose': [0, 10]}}")
    at = dict(at or {})
    names = _names(fit)
    _check_names(at, names)
    variables = tuple(_variable(fit, name, at.get(name)) for name in names)
    sizes = tuple(variable.size for variable in variables)
    if prod(sizes) * len(fit._record.x_names) > _MOST_ENTRIES:
        raise ModelError(
            f"the reference grid has {prod(sizes)} points for {len(fit._record.x_names)} "
            "coefficients, which is too many; keep fewer levels by at={'factor': [levels]}"
        )
    L, offset = evaluated_grid(fit, variables)
    return ReferenceGrid(variables, L, offset)


def evaluated_grid(
    fit: Fitted, variables: tuple[GridVariable, ...]
) -> tuple[FloatArray, FloatArray]:
    """Rows of X and offsets at every combination of some variables' values.

    Returns
    -------
    L : shape (size of each variable..., p), and columns of the effects of curves after these.
    offset : shape (size of each variable...)
    """
    spec = fit._record.fixed_spec
    assert spec is not None, "the caller looked"
    sizes = tuple(variable.size for variable in variables)
    n = prod(sizes)
    frame = grid_frame(variables, sizes)
    columns = spec.build(frame).columns
    if not columns:
        raise ModelError("the model has no fixed effects, so no marginal means")
    rows = np.stack([*columns, *_columns_of_curves(fit, frame)], axis=1)[:n]
    offset = np.full(n, _mean_offset_argument(fit))
    for expression in fit._record.offsets:
        offset = offset + evaluate_elsewhere(expression, frame, "the offset")[:n]
    return rows.reshape(*sizes, -1), offset.reshape(sizes)


def _columns_of_curves(fit: Fitted, frame: Frame) -> list[FloatArray]:
    """Columns of the effects of all curves, in the order of the formula."""
    out = []
    for t in fit._record.smooth_terms:
        spec = fit._record.terms[t].spec
        assert spec is not None, "curves are of a formula"
        out += [np.asarray(column) for column in spec.build(frame).columns]
    return out


def facts_of_rows(fit: Fitted) -> RowFacts | None:
    """What the grid takes from the rows of a fit; None for one that has none, or no formula."""
    if fit._row_facts is not None:
        return fit._row_facts
    if fit._source is None or fit._source.frame is None or fit._record.fixed_spec is None:
        return None
    return row_facts(fit, _names(fit), _levels, _mean_offset_argument(fit))


def _names(fit: Fitted) -> list[str]:
    """Variables of the fixed part and of the offsets."""
    spec = fit._record.fixed_spec
    assert spec is not None, "the caller looked"
    names = list(spec.variables)
    for expression in fit._record.offsets:
        names += [name for name in variables_of(expression) if name not in names]
    return names


def unknown_name(name: object, known: Sequence[str], what: str) -> DataError:
    """Error for a name that is not among those known, with the nearest that is."""
    near = get_close_matches(str(name), known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return DataError(f"{name!r} is not {what}{hint} ({', '.join(known) or 'there is none'})")


def _check_names(at: Mapping[str, Any], names: Sequence[str]) -> None:
    for name in at:
        if name not in names:
            raise unknown_name(name, names, "a variable of the fixed part, which at= could set")


def _variable(fit: Fitted, name: str, given: Any) -> GridVariable:
    levels = _levels(fit, name)
    if levels is None:
        return _covariate(fit, name, given)
    labels, values = levels
    if given is None:
        return GridVariable(name, True, labels, values, labels, values)
    chosen = level_labels(np.atleast_1d(np.asarray(given)))
    for label in chosen:
        if label not in labels:
            near = get_close_matches(label, labels, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise DataError(
                f"at: {label!r} is not a level of {name!r}{hint} (levels: "
                f"{', '.join(labels[:20])}{' ...' if len(labels) > 20 else ''})"
            )
    if not chosen or len(set(chosen)) < len(chosen):
        raise DataError(f"at: give each level of {name!r} that is to stay once, and at least one")
    kept = tuple(values[labels.index(label)] for label in chosen)
    return GridVariable(name, True, chosen, kept, labels, values)


def _levels(fit: Fitted, name: str) -> tuple[tuple[str, ...], tuple[Any, ...]] | None:
    """Levels of a factor and their values in the data; None for a covariate."""
    spec = fit._record.fixed_spec
    assert spec is not None
    coded = [
        variable
        for text, variable in spec.coded.items()
        if isinstance(variable, FactorVariable) and _is_factor_of(text, name)
    ]
    if fit._row_facts is not None:
        return fit._row_facts.levels.get(name)
    if fit._source is None or fit._source.frame is None:
        return (coded[0].levels, coded[0].levels) if coded else None
    frame = fit._source.frame.frame
    if not coded and not frame.is_categorical(name):
        return None
    factor = frame.factor(name)
    # The order of the formula's own factor, as in relevel() or factor(levels = ).
    labels = coded[0].levels if coded else factor.levels
    position = {label: k for k, label in enumerate(factor.levels)}
    return labels, tuple(factor.values[position[label]] for label in labels)


def _is_factor_of(text: str, name: str) -> bool:
    """Whether a variable of the formula is the column itself or a factor made of it."""
    node = parse(text)
    while isinstance(node, Call) and node.function in FACTOR_OPTIONS and node.arguments:
        node = node.arguments[0]
    return isinstance(node, Name) and node.name == name


def _covariate(fit: Fitted, name: str, given: Any) -> GridVariable:
    if given is None:
        values = np.array([_mean(fit, name)])
    else:
        try:
            values = np.atleast_1d(np.asarray(given, dtype=np.float64))
        except (TypeError, ValueError):
            raise DataError(
                f"at: {name!r} is a covariate and needs numbers, not {given!r}"
            ) from None
        if values.ndim != 1 or not values.size or not np.isfinite(values).all():
            raise DataError(f"at: give {name!r} one finite number or a list of them")
        if len(np.unique(values)) < len(values):
            raise DataError(f"at: {name!r} has a value twice")
    labels = level_labels(values)
    return GridVariable(name, False, labels, tuple(values.tolist()), is_averaged=given is None)


def _mean(fit: Fitted, name: str) -> float:
    """Mean of a covariate over the rows used."""
    if fit._row_facts is not None and name in fit._row_facts.means:
        return fit._row_facts.means[name]
    source = fit._needs_source(f"the mean of the covariate {name!r}, which at= could set,")
    assert source.frame is not None
    return float(source.frame.frame.numeric(name).mean())


def grid_frame(variables: Sequence[GridVariable], sizes: tuple[int, ...]) -> Frame:
    """Rows of the grid, the last variable fastest, then rows that hold every level of the data."""
    extra = max((len(variable.known) for variable in variables), default=0)
    if not variables:
        return Frame.from_native({"(none)": np.zeros(1)})
    columns: dict[str, Any] = {}
    grid = np.indices(sizes).reshape(len(sizes), -1)
    for variable, cells in zip(variables, grid, strict=True):
        if variable.is_factor:
            every = [variable.known_values[k % len(variable.known)] for k in range(extra)]
        else:
            every = [variable.values[0]] * extra
        values = [variable.values[k] for k in cells.tolist()] + every
        if variable.is_factor and any(isinstance(value, str) for value in values):
            # Numbers may stand beside text, as in a column of which single values have labels.
            columns[variable.name] = np.array([level_label(value) for value in values], object)
        else:
            columns[variable.name] = np.array(values)
    return Frame.from_native(columns)


def _mean_offset_argument(fit: Fitted) -> float:
    """Mean over the rows used of an offset that was given as an argument."""
    if not fit._record.offset_given:
        return 0.0
    if fit._row_facts is not None:
        return fit._row_facts.offset
    source = fit._needs_source("the mean offset")
    assert source.frame is not None
    assert source.design.offset is not None
    total = float(source.design.offset.mean())
    for expression in fit._record.offsets:
        total -= float(evaluate_numeric(expression, source.frame.frame, "the offset").mean())
    return total


def combinations(variables: Sequence[GridVariable]) -> list[tuple[str, ...]]:
    """Labels of all combinations, the first variable fastest.

    Examples
    --------
    >>> a = GridVariable("a", True, ("1", "2"), ("1", "2"))
    >>> b = GridVariable("b", True, ("u", "v"), ("u", "v"))
    >>> combinations([a, b])
    [('1', 'u'), ('2', 'u'), ('1', 'v'), ('2', 'v')]
    """
    reverse = product(*[variable.labels for variable in reversed(variables)])
    return [tuple(reversed(labels)) for labels in reverse]
