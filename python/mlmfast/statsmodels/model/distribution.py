"""Draws of the response from a model at given parameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlmfast.arrays import FloatArray
from mlmfast.statsmodels.model.arrays import ModelArrays
from mlmfast.statsmodels.parameters import MixedLMParams, lower_root


class MixedLMDistribution:
    """The distribution of the response, at packed parameters and a residual variance."""

    def __init__(self, model: ModelArrays, params: Any, scale: float, exog: Any) -> None:
        self.model = model
        self.exog = model.exog if exog is None else np.asarray(exog)
        own = MixedLMParams.from_packed(params, model.k_fe, model.k_re, False, True)
        self.fe_params, self.scale = own.fe_params, scale
        self.cov_re, self.vcomp = scale * own.cov_re, scale * own.vcomp
        self.group_idx = model._groups.codes

    def rvs(self, n: int = 0, rng: Any = None, random_state: Any = None) -> FloatArray:
        """One response.

        Parameters
        ----------
        n
            Without effect, as in statsmodels: there are as many values as rows.
        rng
            A generator or a seed; ``random_state`` is its older name.
        """
        given = random_state if rng is None else rng
        draw = given if hasattr(given, "normal") else np.random.default_rng(given)
        model = self.model
        y = self.exog @ self.fe_params
        if model.exog_re is not None:
            effects = draw.normal(size=(model.n_groups, model.k_re)) @ lower_root(self.cov_re).T
            y = y + (effects[self.group_idx] * model.exog_re).sum(axis=1)
        for variance, mats in zip(self.vcomp, model.exog_vc.mats, strict=True):
            for rows, matrix in zip(model._rows, mats, strict=True):
                y[rows] += np.sqrt(variance) * (matrix @ draw.normal(size=matrix.shape[1]))
        return np.asarray(y + np.sqrt(self.scale) * draw.normal(size=len(y)))


def get_distribution(
    self: ModelArrays, params: Any, scale: float, exog: Any = None
) -> MixedLMDistribution:
    """What draws responses, by ``rvs``.

    Parameters
    ----------
    params
        Fixed effects, and covariances over the residual variance, as results' ``params`` are.
    scale
        The residual variance.
    exog
        Instead of the model's X.
    """
    return MixedLMDistribution(self, params, scale, exog)
