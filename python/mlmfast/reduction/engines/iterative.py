"""A design in the form that the iterative engine reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

import mlmfast._core as _core
from mlmfast.design.design import Design
from mlmfast.errors import ModelError
from mlmfast.reduction.engines.options import IterativeSettings
from mlmfast.reduction.scaling import ScaledColumn


def reduce_iteratively(
    design: Design,
    levels: tuple[int, ...],
    z: Sequence[Sequence[ScaledColumn]],
    terms: Sequence[Sequence[tuple[int, str]]],
    x: Sequence[ScaledColumn],
    y: Sequence[ScaledColumn],
    settings: IterativeSettings,
) -> _core.IterativeReduction:
    """Sort the rows by every grouping factor.

    Parameters
    ----------
    design
        The design.
    levels
        Positions of the grouping factors in the design, in the order of ``z`` and ``terms``.
    z, terms
        By factor, scaled columns, and the size of each term and how its columns are transformed.
    x, y
        Scaled columns.
    settings
        Probes and their seed.
    """
    factors = [design.factors[f] for f in levels]
    exact = settings.probes == "exact"
    total = float(design.n_obs) if design.weights is None else float(design.weights.sum())
    return _core.IterativeReduction(
        [factor.codes for factor in factors],
        [factor.n_levels for factor in factors],
        z=z,
        x=x,
        y=y,
        noise=[column.noise(total) for column in x],
        terms=terms,
        sqrt_weights=None if design.weights is None else np.sqrt(design.weights),
        probes=0 if exact else int(settings.probes),
        exact=exact,
        seed=int(settings.seed),
        max_iter=settings.most_iterations,
    )


@contextmanager
def conjugate_gradients() -> Iterator[None]:
    """Say what to do where conjugate gradients give up.

    Raises
    ------
    ModelError
    """
    try:
        yield
    except _core.NotConverged as error:
        iterations, residual = error.args
        raise ModelError(
            f"conjugate gradients left a relative residual of {residual:.1e} after {iterations:,} "
            "iterations: the grouping factors are nearly confounded. Use "
            "options={'engine': 'crossed'} if memory allows, or leave out one of the factors"
        ) from None
