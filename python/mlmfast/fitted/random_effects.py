"""Conditional means (BLUPs) and covariances of the random effects given the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.criterion.criterion import Criterion
from mlmfast.design.design import Design
from mlmfast.errors import ModelError
from mlmfast.handed_out import freeze, read_only
from mlmfast.reduction.engines.options import IterativeSettings
from mlmfast.reduction.reduce import reduce_residual, reduce_residuals
from mlmfast.reduction.reduced_model import ReducedModel
from mlmfast.running.cached import cached_property
from mlmfast.running.first_use import OnUse

if TYPE_CHECKING:
    import pandas as pd

    from mlmfast.fitted.record import FitRecord
else:
    pd = OnUse("pandas")


@dataclass(frozen=True)
class ConditionalEffects:
    """Random effects of one grouping factor given y, with beta and the covariances held fixed.

    Attributes
    ----------
    mean : shape (n_levels, q), E(g | y) = G Z'V^-1 (y - X beta), the BLUPs.
    spread
        `covariance`, or how to make it, which most readers of the means never ask for.

    References: Henderson (1975), Biometrics 31, 423; Bates et al. (2015), eq. 56-58.
    """

    mean: FloatArray
    spread: FloatArray | Callable[[], FloatArray] | None

    def __post_init__(self) -> None:
        freeze(self, "mean", "spread")

    @property
    def covariance(self) -> FloatArray | None:
        """G - G Z'V^-1 Z G (lme4's postVar), (n_levels, q, q); None where not formed."""
        spread = self.spread
        if callable(spread):
            spread = read_only(spread())
            object.__setattr__(self, "spread", spread)
        return spread

    def known_covariance(self) -> FloatArray:
        """The covariances.

        Raises
        ------
        ModelError
            Where the engine forms means alone.
        """
        if self.covariance is None:
            raise ModelError(
                "conditional covariances of random effects are not formed by the iterative engine; "
                "fit with options={'engine': 'crossed'} if memory allows"
            )
        return self.covariance


class ByLevel(Mapping[str, "pd.DataFrame"]):
    """Covariance matrices by level of a grouping factor; each is made when it is asked for.

    Parameters
    ----------
    labels
        The levels, in order.
    names
        Names of the q random effects.
    matrices : shape (n_levels, q, q)

    Examples
    --------
    >>> import mlmfast as mlm
    >>> fit = mlm.lmm("Reaction ~ Days + (1 | Subject)", mlm.load_sleepstudy())
    >>> by_level = fit.ranef_cov["Subject"]
    >>> len(by_level), by_level["308"].round(2).iloc[0, 0].item()
    (18, 89.79)
    """

    def __init__(self, labels: Sequence[str], names: Sequence[str], matrices: FloatArray) -> None:
        self._labels, self._names, self._matrices = tuple(labels), list(names), matrices

    @cached_property
    def _position(self) -> dict[str, int]:
        return {label: k for k, label in enumerate(self._labels)}

    def __getitem__(self, label: str) -> pd.DataFrame:
        matrix = self._matrices[self._position[label]]
        return pd.DataFrame(matrix.copy(), index=self._names, columns=self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._labels)

    def __len__(self) -> int:
        return len(self._labels)

    def __repr__(self) -> str:
        return f"{{{', '.join(f'{label!r}: {self[label]!r}' for label in self)}}}"

    def respelled(self, spell: Callable[[str], str]) -> ByLevel:
        """The same with the labels spelled otherwise."""
        return ByLevel([spell(label) for label in self._labels], self._names, self._matrices)


def conditional_effects(
    model: ReducedModel, criterion: Criterion, theta: FloatArray, record: FitRecord
) -> list[ConditionalEffects]:
    """Conditional means and covariances for each grouping factor of the record, levels in order.

    One pass over the rows: each unit's residuals are rotated, effects are eliminated from the
    inside out and then filled in from the outside in. ``theta`` has shape (1, n_theta).
    """
    if not record.terms:
        # Subjects of a residual covariance are a grouping factor without random effects.
        return [_no_effects(len(group.labels)) for group in record.groups]
    if model.iterative is not None:
        return _means_alone(model, criterion, theta, record)
    residual = model.design.working_response - fixed_part(model.design, record)
    found = effects_given(
        model, residual, criterion.covariances(theta), model.covariance_unit(record.sigma2)
    )
    return [
        found[k] if k in found else _no_effects(len(group.labels))
        for k, group in enumerate(record.groups)
    ]


def effects_given(
    model: ReducedModel, residual: FloatArray, g: list[FloatArray], variance: float
) -> dict[int, ConditionalEffects]:
    """Random effects by factor given y - X beta, (n,).

    Parameters
    ----------
    g
        Covariances of each level in the core's coordinates, a leading axis of length 1.
    variance
        What one unit of these is in the user's units.
    """
    core, unit = reduce_residual(model, residual)
    conditional = core.conditional(g, 0, np.empty(0))
    assert conditional is not None, "a covariance G = L L' always gives a positive definite W"
    nesting = model.nesting
    assert not isinstance(nesting, IterativeSettings), "means alone were returned above"
    out = {}
    for level, (mean, covariance) in enumerate(conditional[: len(model.levels)]):
        rank = np.empty(len(mean), dtype=np.intp)
        rank[nesting.codes(level)] = np.arange(len(mean))
        k = model.level_map(level)
        columns = model.formula_order(level)
        out[model.levels[level]] = ConditionalEffects(
            unit * (mean @ k.T)[rank][:, columns],
            partial(_in_formula_order, variance, k, covariance, rank, columns),
        )
    return out


def _in_formula_order(
    variance: float, k: FloatArray, covariance: FloatArray, rank: IntArray, columns: IntArray
) -> FloatArray:
    """Conditional covariances in the user's units, levels and columns in order."""
    return np.asarray(variance * (k @ covariance @ k.T)[rank][:, columns][:, :, columns])


def effect_slopes(
    model: ReducedModel, criterion: Criterion, theta: FloatArray, factor: int
) -> FloatArray:
    """Derivatives -G Z'V^-1 X of the conditional means of a factor of one level by beta, (q, p).

    X has the columns that are not aliased; ``theta`` has shape (1, n_theta).
    """
    g, level = criterion.covariances(theta), model.levels.index(factor)
    columns = [model.design.x[j] for j in model.kept]
    ones = np.ones(model.design.n_obs)
    core, units = reduce_residuals(model, [ones if c is None else c for c in columns])
    k, order = model.level_map(level), model.formula_order(level)
    out = np.empty((len(order), len(columns)))
    for j, unit in enumerate(units):
        conditional = core.conditional(g, j, np.empty(0))
        assert conditional is not None, "a covariance G = L L' always gives a positive definite W"
        out[:, j] = -unit * (conditional[level][0] @ k.T)[0, order]
    return out


def _means_alone(
    model: ReducedModel, criterion: Criterion, theta: FloatArray, record: FitRecord
) -> list[ConditionalEffects]:
    """Conditional means from the last solution of the iterative engine."""
    assert model.iterative is not None, "the caller looked"
    means = model.iterative.conditional_means(criterion.covariances(theta), 0)
    assert means is not None, "a covariance G = L L' always gives a positive definite W"
    unit = float(model.core.y_scale[0]) / model.y_scaling[0].scale
    out = [_no_effects(len(group.labels)) for group in record.groups]
    for level, mean in enumerate(means):
        columns = model.formula_order(level)
        values = unit * (mean @ model.level_map(level).T)[:, columns]
        out[model.levels[level]] = ConditionalEffects(values, None)
    return out


def _no_effects(n_levels: int) -> ConditionalEffects:
    return ConditionalEffects(np.empty((n_levels, 0)), np.empty((n_levels, 0, 0)))


def fixed_part(design: Design, record: FitRecord) -> FloatArray:
    """X beta, shape (n,)."""
    total = np.zeros(design.n_obs)
    for j, b in zip(record.kept, record.beta, strict=True):
        column = design.x[j]
        total += b if column is None else b * column
    if record.absorbed is not None and design.absorbed is not None:
        total += record.absorbed.levels[design.absorbed.codes]
    return total
