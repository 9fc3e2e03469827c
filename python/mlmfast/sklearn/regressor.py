"""A linear mixed model as a regressor of scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mlmfast.arrays import FloatArray
from mlmfast.errors import DataError, ModelError
from mlmfast.guessed_arguments import told
from mlmfast.model import LMM, lmm
from mlmfast.result import LMMResult
from mlmfast.sklearn.grouping import (
    DEFAULT,
    RandomPart,
    codes_in,
    columns_of_names,
    is_default,
    labels_by_factor,
)
from mlmfast.sklearn.independent import least_squares
from mlmfast.sklearn.package import (
    BaseEstimator,
    RegressorMixin,
    _check_sample_weight,
    check_is_fitted,
    column_or_1d,
    r2_score,
    validate_data,
)
from mlmfast.sklearn.rows import (
    as_frame,
    n_rows,
    named_formula,
    rows_of,
    taken,
    unnamed_factor,
    without,
)
from mlmfast.words import read_method


@told()
class MixedModelRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Regression with random effects of groups of rows, with scikit-learn's interface.

    Parameters
    ----------
    formula
        A model in lme4's language over the columns of X, as `mlmfast.lmm` takes it, such as
        ``"y ~ dose * arm + (1 + dose | site)"``; the response is y, under the name that the
        formula gives it. None: a linear model of all features with an intercept.
    random
        Without a formula, what varies between groups: the left of lme4's bar (``"1"``,
        ``"1 + dose"``, ``"0 + dose"``), a list of features with random slopes beside a random
        intercept, or a dict of these by grouping factor. Refused, where it is not "1", beside a
        formula and in a fit without groups.
    method
        "REML" or "ML".
    residual
        With a formula, the covariance of the residuals, as `mlmfast.lmm` takes it; refused without
        one.

    Attributes
    ----------
    coef_, intercept_
        Fixed effects of the features, 0 for one that depends on others; with a formula all fixed
        effects by name stand in ``result_.params``, and these are left out.
    cov_re_ : dict
        Covariance matrix of the random effects by grouping factor.
    random_effects_ : dict
        Predicted random effects by grouping factor: a data frame, a row a level.
    scale_ : float
        Residual variance.
    converged_ : bool
    n_iter_ : int
    n_features_in_, feature_names_in_
        As scikit-learn has them; a column that ``groups`` names is no feature.
    result_ : LMMResult or None
        The fit: tests, intervals, diagnostics. None for a fit without groups, by least squares.

    Notes
    -----
    With metadata routing ``fit`` requests ``groups``, and ``predict`` and ``score`` do not until
    ``set_predict_request(groups=True)`` or ``set_score_request(groups=True)``.

    ``sample_weight`` counts repetitions of rows, as scikit-learn asks; with groups it takes whole
    numbers. ``weights`` are precisions: the variance of a residual is sigma^2 / weight.

    `predict` and `score` are those of the population, of a group that is not known; with
    ``groups`` the random effects of the groups seen are added, 0 for new ones.

    Examples
    --------
    >>> import numpy as np, mlmfast as mlm
    >>> data = mlm.load_sleepstudy()
    >>> model = MixedModelRegressor(random="1 + Days")
    >>> model.fit(data[["Days"]], data["Reaction"], groups=data["Subject"]).coef_.round(3)
    array([10.467])
    >>> model.predict(data[["Days"]].head(2)).round(1)
    array([251.4, 261.9])
    >>> model.predict(data[["Days"]].head(2), groups=data["Subject"].head(2)).round(1)
    array([253.7, 273.3])
    >>> by_formula = MixedModelRegressor("Reaction ~ Days + (Days | Subject)")
    >>> by_formula.fit(data[["Days", "Subject"]], data["Reaction"]).predict(
    ...     data[["Days", "Subject"]].head(2), groups="Subject").round(1)
    array([253.7, 273.3])
    """

    # Who passes groups to a search wants the models fitted with them, and scored on new groups.
    __metadata_request__fit = {"groups": True}  # noqa: RUF012 (what scikit-learn asks)
    __metadata_request__predict = {"groups": False}  # noqa: RUF012
    __metadata_request__score = {"groups": False}  # noqa: RUF012

    def __init__(
        self,
        formula: str | None = None,
        *,
        random: Any = DEFAULT,
        method: str = "REML",
        residual: str | None = None,
    ) -> None:
        self.formula = formula
        self.random = random
        self.method = method
        self.residual = residual

    def fit(
        self, X: Any, y: Any, groups: Any = None, sample_weight: Any = None, weights: Any = None
    ) -> MixedModelRegressor:
        """Fit the model.

        Parameters
        ----------
        X : shape (n, n_features)
            Numbers; with a formula, a data frame of any columns.
        y : shape (n,)
        groups
            One label a row, the name of a column of X (or a list of names), or several grouping
            factors as a dict or a data frame. None: independent rows, or, with a formula, columns
            of X.
        sample_weight : shape (n,), how often each row counts
        weights : shape (n,), precision weights

        Raises
        ------
        ModelError, DataError
            For a model that cannot be read or fitted; all are ValueError.
        """
        read_method(self.method)
        if self.formula is not None:
            if not is_default(self.random):
                raise ModelError(
                    f"random={self.random!r} goes without formula=; write the random effects into "
                    "the formula, such as (1 + dose | site)"
                )
            return self._fit_formula(X, y, groups, sample_weight, weights)
        if self.residual is not None:
            raise ModelError(f"residual={self.residual!r} names columns, so it goes with formula=")
        by_factor = {} if groups is None else labels_by_factor(groups, X, n_rows(X))
        X = without(X, columns_of_names(groups, X))
        X, y = validate_data(self, X, y, y_numeric=True, dtype=np.float64, ensure_min_samples=2)
        y = np.asarray(y, dtype=np.float64)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, X, dtype=np.float64, ensure_non_negative=True
            )
        self._random_part = RandomPart(self.random, self._names())
        self._random_part.check(list(by_factor))
        if by_factor:
            self._fit_groups(X, y, by_factor, sample_weight, weights)
        else:
            self._fit_independent(X, y, sample_weight, weights)
        return self

    def _fit_independent(
        self, X: FloatArray, y: FloatArray, sample_weight: FloatArray | None, weights: Any
    ) -> None:
        if weights is not None:
            raise ModelError(
                "weights= without groups= is weighted least squares; give them as sample_weight"
            )
        reml = read_method(self.method) == "REML"
        self.intercept_, self.coef_, self.scale_ = least_squares(X, y, sample_weight, reml)
        self.cov_re_: dict[str, pd.DataFrame] = {}
        self.random_effects_: dict[str, pd.DataFrame] = {}
        self.converged_, self.n_iter_ = True, 1
        self.result_: LMMResult | None = None

    def _fit_groups(
        self,
        X: FloatArray,
        y: FloatArray,
        by_factor: dict[str, Any],
        sample_weight: FloatArray | None,
        weights: Any,
    ) -> None:
        names = self._names()
        rows = rows_of(sample_weight)
        Z = {factor: taken(self._random_part.matrix(X, factor), rows) for factor in by_factor}
        result = LMM.from_arrays(
            taken(y, rows),
            np.column_stack([np.ones(len(y)), X])[slice(None) if rows is None else rows],
            groups={factor: taken(labels, rows) for factor, labels in by_factor.items()},
            Z=Z,
            names=["(Intercept)", *names],
            weights=taken(weights, rows),
        ).fit(self.method)
        beta: FloatArray = np.nan_to_num(result.params.to_numpy(), nan=0.0)
        self.intercept_, self.coef_ = float(beta[0]), beta[1:]
        self._keep(result)

    def _fit_formula(
        self, X: Any, y: Any, groups: Any, sample_weight: Any, weights: Any
    ) -> MixedModelRegressor:
        assert self.formula is not None, "the caller looked"
        parsed = named_formula(self.formula)
        validate_data(self, X, skip_check_array=True)
        y = column_or_1d(y, warn=True, dtype=np.float64)
        if not np.isfinite(y).all():
            raise DataError("y has missing or infinite values; leave those rows out")
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, y, dtype=np.float64, ensure_non_negative=True
            )
        rows = rows_of(sample_weight)
        columns = self._columns(X, groups)
        columns[parsed.response.strip("`")] = y
        data = {name: taken(values, rows) for name, values in columns.items()}
        result = lmm(
            parsed.text,
            data,
            residual=self.residual,
            method=self.method,
            weights=taken(weights, rows),
            na_action="raise",
        )
        self._keep(result)
        return self

    def _keep(self, result: LMMResult) -> None:
        self.cov_re_ = dict(result.varcorr.items())
        self.random_effects_ = dict(result.ranef.items())
        self.scale_ = np.nan if result.scale is None else float(result.scale)
        self.converged_ = result.converged
        self.n_iter_ = result.certificate.n_iterations
        self.result_ = result

    def _columns(self, X: Any, groups: Any) -> dict[str, Any]:
        """Columns that a formula reads: those of X, and groups under the names it has for them."""
        assert self.formula is not None, "of a formula"
        columns = as_frame(X, self._names())
        if groups is None or columns_of_names(groups, X):
            return columns
        found = labels_by_factor(groups, X, n_rows(X))
        parsed = named_formula(self.formula)
        known = {name for term in parsed.random for name in term.group}
        if len(found) == 1 and not set(found) & known:
            (labels,) = found.values()
            found = {unnamed_factor(parsed, columns): labels}
        return columns | found

    def _names(self) -> list[str]:
        known = getattr(self, "feature_names_in_", None)
        if known is not None:
            return list(map(str, known))
        return [f"x{j}" for j in range(self.n_features_in_)]

    def predict(self, X: Any, groups: Any = None) -> FloatArray:
        """Predicted responses: of the population, or with the random effects of ``groups``.

        Parameters
        ----------
        X : shape (n, n_features)
        groups
            As `fit` takes them; a group that is new has random effects of 0. With a formula whose
            factors are columns of X, the names of these columns.

        Returns
        -------
        ndarray, shape (n,)
        """
        check_is_fitted(self)
        if self.formula is not None:
            return self._predict_formula(X, groups)
        by_factor = {} if groups is None else labels_by_factor(groups, X, n_rows(X))
        named = columns_of_names(groups, X) or self._left_out(X)
        X = validate_data(self, without(X, named), dtype=np.float64, reset=False)
        total = self.intercept_ + X @ self.coef_
        for factor, labels in by_factor.items():
            total = total + self._effects(X, factor, labels)
        return np.asarray(total, dtype=np.float64)

    def _left_out(self, X: Any) -> list[str]:
        """Columns of groups that the model was fitted with and X still holds."""
        columns = getattr(X, "columns", ())
        own = getattr(self, "feature_names_in_", ())
        return [name for name in self.random_effects_ if name in columns and name not in own]

    def _effects(self, X: FloatArray, factor: str, labels: Any) -> FloatArray:
        """Z b of known levels, 0 for new ones."""
        if self.result_ is None:
            raise ModelError("the model was fitted without groups, so it predicts without them")
        known = list(self.random_effects_)
        if factor not in known and len(known) == 1 and factor == "group":
            (factor,) = known
        if factor not in known:
            raise DataError(
                f"groups name the factor {factor!r}; the model was fitted with {', '.join(known)}"
            )
        effects = self.random_effects_[factor]
        codes = codes_in(labels, effects.index, factor)
        values = np.vstack([effects.to_numpy(), np.zeros(effects.shape[1])])[codes]
        return np.asarray((self._random_part.matrix(X, factor) * values).sum(axis=1))

    def _predict_formula(self, X: Any, groups: Any) -> FloatArray:
        validate_data(self, X, reset=False, skip_check_array=True)
        assert self.result_ is not None, "fitted by a formula"
        columns = self._columns(X, groups)
        return np.asarray(
            self.result_.predict(columns, ranef=groups is not None, new_levels="population")
        )

    def score(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> float:
        """R^2 of `predict`, with the random effects of ``groups`` where they are given."""
        predicted = self.predict(X, groups=groups)
        return float(r2_score(y, predicted, sample_weight=sample_weight))
