"""A model's arrays, names and likelihood under statsmodels' names: what fits and results go by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray, IntArray
from mlmfast.errors import warn
from mlmfast.running.cached import cached_property
from mlmfast.statsmodels.errors import OldFormatWarning
from mlmfast.statsmodels.model.components import Component, component_of
from mlmfast.statsmodels.model.data import ModelData, array_names
from mlmfast.statsmodels.model.input import (
    Groups,
    check_infinite,
    check_missing,
    check_order,
    complete,
    groups_of,
    numbers,
    taken,
)
from mlmfast.statsmodels.model.likelihood import GroupProducts, Likelihood, products_of
from mlmfast.statsmodels.parameters import MixedLMParams, VCSpec, by_root, is_definite

_PERMITTED = frozenset(["missing_idx", "model_spec", "formula"])


class ModelArrays:
    """A linear mixed model with one level of groups, but for its fit."""

    #: Standard errors of a fit that does not say: "gls" or "statsmodels".
    default_se: ClassVar[str] = "gls"
    fe_pen = None
    cov_pen = None
    re_pen = None
    reml = True
    #: How columns are read from new rows; None of a model made from arrays.
    _source: Any = None
    #: The rows as mlmfast's model, once one was fitted.
    _prepared: Any = None
    _given_components: list[tuple[str, Component]] | None
    exog_vc: VCSpec
    exog_re: FloatArray | None
    endog: FloatArray
    exog: FloatArray
    #: What makes results of what was found.
    _results_of: ClassVar[Any]

    def __init__(
        self,
        endog: Any,
        exog: Any,
        groups: Any,
        exog_re: Any = None,
        exog_vc: Any = None,
        use_sqrt: bool = True,
        missing: str = "none",
        **kwargs: Any,
    ) -> None:
        unknown = sorted(set(kwargs) - _PERMITTED)
        if unknown:
            raise ValueError(f"argument {unknown[0]} not permitted for MixedLM initialization")
        missing = check_missing(missing, False)
        given = {"endog": endog, "exog": exog, "groups": groups, "exog_re": exog_re}
        kept = complete(given, missing)
        if kept is not None and exog_vc is not None:
            raise NotImplementedError(
                "matrices in exog_vc do not say which of their rows missing='drop' leaves out; "
                "drop those rows of every array first, or use from_formula with vc_formula"
            )
        for name in ("groups", "exog_re"):
            check_order(name, given[name], _row_labels(endog, exog))
        endog, exog, groups, exog_re = (taken(given[name], kept) for name in given)
        y = numbers("endog", endog, 1)
        x = numbers("exog", exog, 2)
        z = None if exog_re is None else numbers("exog_re", exog_re, 2)
        for name, own in (("endog", y), ("exog", x), ("exog_re", z)):
            check_infinite(name, own)
            if own is not None and len(own) != len(y):
                raise ValueError(f"{name} has {len(own)} rows and endog has {len(y)}")
        self._set_data(endog, exog, y, x)
        spec = _components(exog_vc)
        self._set_model(y, x, groups_of(groups, len(y)), use_sqrt)
        default = z is None and not spec.names
        self._set_effects(np.ones((len(y), 1)) if default else z, spec, None)
        names = ["Group"] if default else _effect_names(exog_re, z)
        self._set_names(names, ["Group Var"] if default else None)
        self.data.missing_row_idx = None if kept is None else np.flatnonzero(~kept).tolist()

    # -- made of ------------------------------------------------------------------------------

    def _set_data(self, endog: Any, exog: Any, y: FloatArray, x: FloatArray) -> None:
        labels = _row_labels(endog, exog)
        both = isinstance(endog, pd.Series | pd.DataFrame) and isinstance(exog, pd.DataFrame)
        if both and not endog.index.equals(exog.index):
            raise ValueError("The indices for endog and exog are not aligned")
        columns = getattr(exog, "columns", None)
        names = array_names(x) if columns is None else [str(name) for name in columns]
        name = getattr(endog, "name", None)
        if isinstance(endog, pd.DataFrame):
            name = endog.columns[0]
        self.data = ModelData(
            endog=y,
            exog=x,
            is_pandas=labels is not None,
            xnames=names,
            ynames="y" if name is None else str(name),
            row_labels=labels,
            orig_endog=endog,
            orig_exog=exog,
        )

    def _remove_data(self) -> None:
        """Let go of the rows."""
        for name in ("endog", "exog", "exog_re"):
            setattr(self, name, None)
        self.exog_vc = VCSpec(self.exog_vc.names, [], [])
        for name in ("_prepared", "_products", "_rows", "row_indices", "_components"):
            self.__dict__.pop(name, None)
        self._given_components = None
        for name in ("endog", "exog", "orig_endog", "orig_exog", "exog_re", "frame"):
            setattr(self.data, name, None)

    def _set_model(self, y: FloatArray, x: FloatArray, groups: Groups, use_sqrt: bool) -> None:
        self.endog, self.exog, self._groups = y, x, groups
        self.use_sqrt = use_sqrt
        self._freepat: MixedLMParams | None = None
        self.nobs = self.n_totobs = len(y)
        self.k_fe = x.shape[1]
        self.group_labels, self.n_groups = groups.labels, len(groups.labels)

    def _set_effects(
        self,
        z: FloatArray | None,
        spec: VCSpec,
        components: list[tuple[str, Component]] | None,
    ) -> None:
        self.exog_re, self.exog_vc = z, spec
        self.data.exog_re = z
        self.k_re = 0 if z is None else z.shape[1]
        self.k_re2 = self.k_re * (self.k_re + 1) // 2
        self.k_vc = len(spec.names)
        self.k_params = self.k_fe + self.k_re2
        self._given_components = components

    def _set_names(self, effects: list[str], full: list[str] | None = None) -> None:
        triangle = [
            f"{effects[i]} Var" if i == j else f"{effects[j]} x {effects[i]} Cov"
            for i in range(len(effects))
            for j in range(i + 1)
        ]
        self.data.exog_re_names = ["Group Var"] if full else effects
        self.data.exog_re_names_full = triangle if full is None else full
        self.data.vcomp_names = list(self.exog_vc.names)
        components = [f"{name} Var" for name in self.exog_vc.names]
        self.data.param_names = [*self.data.xnames, *self.data.exog_re_names_full, *components]

    @cached_property
    def _components(self) -> list[tuple[str, Component]]:
        """The variance components as factors and columns."""
        if self._given_components is not None:
            return self._given_components
        rows = self._rows
        return [
            (str(name), component_of(str(name), matrices, rows, self.nobs))
            for name, matrices in zip(self.exog_vc.names, self.exog_vc.mats, strict=True)
        ]

    @cached_property
    def _rows(self) -> list[IntArray]:
        return self._groups.rows

    @cached_property
    def _products(self) -> list[GroupProducts]:
        mats: Sequence[Any] = self.exog_vc.mats
        return products_of(self._rows, self.exog, self.endog, self.exog_re, mats)

    # -- looked at ----------------------------------------------------------------------------

    @property
    def endog_names(self) -> str:
        """Name of the response."""
        return self.data.ynames

    @property
    def exog_names(self) -> list[str]:
        """Names of the fixed effects."""
        return self.data.xnames

    @property
    def groups(self) -> Any:
        """Label of each row's group."""
        return np.asarray(self.group_labels)[self._groups.codes]

    @property
    def formula(self) -> str | None:
        """The formula, of a model made from one."""
        return self.data.formula

    @cached_property
    def row_indices(self) -> dict[Any, list[int]]:
        """Rows of each group."""
        return {g: rows.tolist() for g, rows in zip(self.group_labels, self._rows, strict=True)}

    def group_list(self, array: Any) -> list[Any] | None:
        """Parts of an array by group, None for None."""
        if array is None:
            return None
        return [np.array(np.asarray(array)[rows]) for rows in self._rows]

    @property
    def endog_li(self) -> Any:
        """The response by group."""
        return self.group_list(self.endog)

    @property
    def exog_li(self) -> Any:
        """The fixed part's matrix by group."""
        return self.group_list(self.exog)

    @property
    def exog_re_li(self) -> Any:
        """The random effects' matrix by group."""
        return self.group_list(self.exog_re)

    # -- likelihood ---------------------------------------------------------------------------

    def _likelihood(self, params: MixedLMParams, reml: bool | None = None) -> Likelihood:
        shape = (self.nobs, self.k_fe, self.k_re, self.k_vc)
        reml = self.reml if reml is None else reml
        return Likelihood(self._products, shape, params.cov_re, params.vcomp, reml)

    def _params(self, params: Any, has_fe: bool) -> Any:
        if hasattr(params, "cov_re"):
            return params
        return MixedLMParams.from_packed(params, self.k_fe, self.k_re, self.use_sqrt, has_fe)

    def loglike(self, params: Any, profile_fe: bool = True) -> float:
        """The log-likelihood with the residual variance profiled out, and beta on request.

        By REML or ML as the last fit was, REML before the first.

        Parameters
        ----------
        params
            `MixedLMParams`, or packed covariance parameters.
        profile_fe
            Whether beta is its generalised least-squares estimate.
        """
        given = self._params(params, has_fe=False)
        at = self._likelihood(given)
        return at.value(at.beta if profile_fe else given.fe_params)

    def score(self, params: Any, profile_fe: bool = True) -> FloatArray:
        """Derivatives of `loglike`, by roots of the covariances where ``use_sqrt`` is set."""
        given = self._params(params, has_fe=False)
        at = self._likelihood(given)
        by_beta, by_u = at.score(at.beta if profile_fe else given.fe_params)
        if self.use_sqrt:
            by_u = by_root(given, by_u)
        return by_u if profile_fe else np.concatenate([by_beta, by_u])

    def score_full(self, params: Any, calc_fe: bool) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Derivatives by beta, by the covariances over the residual variance, by components."""
        by_beta, by_u = self._likelihood(params).score(params.fe_params)
        by_beta = by_beta if calc_fe else np.zeros(self.k_fe)
        return by_beta, by_u[: self.k_re2], by_u[self.k_re2 :]

    def score_sqrt(
        self, params: Any, calc_fe: bool = True
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Derivatives by beta, by the Cholesky factor of the covariance, by roots of components."""
        by_beta, re, vc = self.score_full(params, calc_fe)
        roots = by_root(params, np.concatenate([re, vc]))
        return by_beta, roots[: self.k_re2], roots[self.k_re2 :]

    def hessian(self, params: Any) -> tuple[FloatArray, bool]:
        """Second derivatives of `loglike` by beta and the covariances over the residual variance.

        Returns
        -------
        hessian : shape (k, k)
        singular
            Whether the covariance of the random effects is singular; the derivatives are exact
            there too.
        """
        given = self._params(params, has_fe=True)
        singular = not is_definite(given)
        return self._likelihood(given).hessian(given.fe_params), singular

    def information(self, params: Any) -> FloatArray:
        """Minus the second derivatives of `loglike`."""
        return -self.hessian(params)[0]

    def get_fe_params(self, cov_re: Any, vcomp: Any, tol: float = 1e-10) -> tuple[FloatArray, bool]:
        """The generalised least-squares estimate; whether the covariance is singular."""
        params = MixedLMParams.from_components(np.zeros(self.k_fe), cov_re=cov_re, vcomp=vcomp)
        return self._likelihood(params).beta, not is_definite(params, tol)

    def get_scale(self, fe_params: Any, cov_re: Any, vcomp: Any) -> float:
        """The residual variance, given the rest over it."""
        params = MixedLMParams.from_components(fe_params, cov_re=cov_re, vcomp=vcomp)
        return self._likelihood(params).scale(np.asarray(fe_params, dtype=np.float64))

    def predict(self, params: Any, exog: Any = None) -> FloatArray:
        """The fixed part: X beta.

        Parameters
        ----------
        params
            `MixedLMParams`, all packed parameters, or the fixed effects.
        exog
            Rows of X, the model's by default.
        """
        fixed = getattr(params, "fe_params", None)
        beta = np.asarray(params)[: self.k_fe] if fixed is None else np.asarray(fixed)
        return np.asarray(np.dot(self.exog if exog is None else exog, beta))


def _row_labels(*arrays: Any) -> pd.Index | None:
    """Row labels of the first of the arrays that has them."""
    return next((v.index for v in arrays if isinstance(v, pd.Series | pd.DataFrame)), None)


def _components(exog_vc: Any) -> VCSpec:
    if exog_vc is None:
        return VCSpec([], [], [])
    if not isinstance(exog_vc, dict):
        return exog_vc  # type: ignore[no-any-return]
    warn("Using deprecated variance components format", OldFormatWarning, "MLM801")
    groups = sorted({group for matrices in exog_vc.values() for group in matrices})
    names = sorted(exog_vc)
    mats = [[_two_columns(exog_vc[name][g]) for g in groups] for name in names]
    given = [[exog_vc[name][g] for g in groups] for name in names]
    colnames = [
        [
            list(getattr(one, "columns", map(str, range(matrix.shape[1]))))
            for one, matrix in zip(row, own, strict=True)
        ]
        for row, own in zip(given, mats, strict=True)
    ]
    return VCSpec(names, colnames, mats)


def _two_columns(matrix: Any) -> Any:
    return matrix if hasattr(matrix, "toarray") else np.asarray(matrix)


def _effect_names(exog_re: Any, z: FloatArray | None) -> list[str]:
    if z is None:
        return []
    columns = getattr(exog_re, "columns", None)
    if columns is not None:
        return [str(name) for name in columns]
    name = getattr(exog_re, "name", None)
    if name is not None:
        return [str(name)]
    return [f"x_re{j + 1}" for j in range(z.shape[1])]
